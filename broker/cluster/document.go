package cluster

import (
	"bytes"
	"fmt"
	"hash/crc32"
)

// Store keeps a small document so that a power cut leaves the old one or the new
// one.
type Store interface {
	Load() ([]byte, error) // nil, nil when nothing was saved yet
	Save(doc []byte) error
	SetAside() error // puts a damaged document where it does no harm
}

// checksumLine begins the last line of the document. A bit that flips in a name or
// an id would otherwise make it the list of other topics.
const checksumLine = ",\n  \"checksum\": \""

// Sealed puts a last field into doc, an object: the CRC-32C, in hex, of all
// before its line.
func Sealed(doc []byte) []byte {
	return seal(bytes.TrimSuffix(doc, []byte("\n}")))
}

func seal(body []byte) []byte {
	sum := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
	return fmt.Appendf(bytes.Clone(body), "%s%08x\"\n}\n", checksumLine, sum)
}

// IsWhole reports whether doc is as it was saved. One that has no checksum, an
// older headwater's, is taken to be.
func IsWhole(doc []byte) bool {
	at := bytes.LastIndex(doc, []byte(checksumLine))
	return at < 0 || bytes.Equal(doc, seal(doc[:at]))
}
