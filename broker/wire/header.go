package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Header is what stands before every request.
type Header struct {
	Key           int16
	Version       int16
	CorrelationID int32
	ClientID      string // "" also for null
}

// Peek reads the part of a request header that every version has. It is all that
// can be read of a request whose version is unknown.
func Peek(frame []byte) (Header, error) {
	c := cursor{buf: frame}
	h := Header{Key: c.int16(), Version: c.int16(), CorrelationID: c.int32()}
	if c.bad {
		return Header{}, fmt.Errorf("%w: %d bytes are shorter than a header", ErrMalformed, len(frame))
	}
	return h, nil
}

// ParseHeader splits a request's header off frame, which starts behind the
// frame's length. It is for keys that NewRequest knows. The body is not copied.
func ParseHeader(frame []byte) (h Header, body []byte, err error) {
	h, err = Peek(frame)
	if err != nil {
		return h, nil, err
	}
	c := cursor{buf: frame[headerLen:]}
	if h.Key == ControlledShutdown && h.Version == 0 {
		return h, c.buf, nil // the one request whose header has no client id
	}
	h.ClientID = string(c.nullable(c.textLen(false))) // not compact in any version: it is sent before versions are known
	if flexible(h.Key, h.Version) {
		c.tags(ignore)
	}
	if c.bad {
		return h, nil, fmt.Errorf("%w: the header of a %s request ends early", ErrMalformed, kmsg.NameForKey(h.Key))
	}
	return h, c.buf, nil
}

// flexible reports whether requests of key have compact lengths and tagged fields
// at version (KIP-482).
func flexible(key, version int16) bool {
	if key < 0 || int(key) >= len(firstFlexible) {
		return false
	}
	return version >= firstFlexible[key]
}

// firstFlexible is the first flexible version of each key that NewRequest knows.
var firstFlexible = func() (first []int16) {
	const never = 1<<15 - 1
	for key := range int16(kmsg.MaxKey + 1) {
		at := int16(never)
		if r := NewRequest(key); r != nil {
			for version := r.MaxVersion(); version >= 0; version-- {
				r.SetVersion(version)
				if r.IsFlexible() {
					at = version
				}
			}
		}
		first = append(first, at)
	}
	return first
}()

// AppendResponse appends resp as one frame, its length included.
func AppendResponse(dst []byte, correlationID int32, resp kmsg.Response) []byte {
	start := len(dst)
	dst = appendResponseHeader(dst, correlationID, resp.Key(), resp.IsFlexible())
	dst = resp.AppendTo(dst)
	setLength(dst[start:], len(dst)-start)
	return dst
}

// appendResponseHeader leaves the length, which setLength fills in. Header
// version 1, which adds tagged fields, goes with flexible answers; but the answer
// to ApiVersions keeps version 0, since its reader may not know the other yet.
func appendResponseHeader(dst []byte, correlationID int32, key int16, flexible bool) []byte {
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	if flexible && key != APIVersions {
		dst = append(dst, 0)
	}
	return dst
}

// setLength writes the length of a frame of size bytes in all at its start.
func setLength(frame []byte, size int) {
	binary.BigEndian.PutUint32(frame, uint32(size-lengthLen))
}
