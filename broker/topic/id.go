package topic

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// ID tells a topic from a later one of the same name (KIP-516). The zero ID is no
// topic's.
type ID [16]byte

// NewID returns a random version 4 UUID whose text does not start with '-', as
// Kafka's do, so that it can be typed after a command-line flag.
func NewID() ID {
	for {
		var id ID
		rand.Read(id[:]) // never fails
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if id.String()[0] != '-' {
			return id
		}
	}
}

// String returns the form of Kafka's files and tools: URL-safe base64 without
// padding, 22 characters.
func (id ID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// ParseID reads what String wrote.
func ParseID(s string) (ID, error) {
	var id ID
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return ID{}, fmt.Errorf("topic id %.40q is not 22 characters of URL-safe base64", s)
	}
	copy(id[:], b)
	return id, nil
}

// MarshalText makes String the form of an ID in JSON.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseID(string(text))
	return err
}
