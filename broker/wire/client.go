package wire

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrBadAnswer is wrapped by every error about bytes that cannot be the answer that
// was asked for. The connection they came on is not in step any more.
var ErrBadAnswer = errors.New("malformed answer")

// AppendRequest appends req, at the version that is set on it, as one frame, its
// length included. kmsg cannot do that for version 0 of ControlledShutdown, which
// nobody needs any more.
func AppendRequest(dst []byte, correlationID int32, clientID string, req kmsg.Request) []byte {
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))
	start := len(dst)
	frame := f.AppendRequest(dst[start:], AsKafka(req), correlationID) // which writes the length at the start of its slice
	return append(dst[:start], frame...)
}

// DecodeResponse reads the answer to req from a frame that starts behind its
// length. As Decode, it allocates in proportion to what is in frame. Records in the
// answer are not copied: they point into frame.
func DecodeResponse(req kmsg.Request, correlationID int32, frame []byte) (kmsg.Response, error) {
	key, version := req.Key(), req.GetVersion()
	c := cursor{buf: frame}
	if got := c.int32(); c.bad || got != correlationID {
		return nil, fmt.Errorf("%w: correlation id %d, want %d", ErrBadAnswer, got, correlationID)
	}
	if flexible(key, version) && key != APIVersions {
		c.tags(ignore)
	}
	shape, ok := responseShapes[key]
	if !ok {
		return nil, fmt.Errorf("%w: no shape for answers to %s", ErrBadAnswer, kmsg.NameForKey(key))
	}
	w := walker{version: version, flexible: flexible(key, version)}
	if c.bad || !w.fits(c.buf, shape) {
		return nil, fmt.Errorf("%w: %s version %d does not hold what it claims", ErrBadAnswer, kmsg.NameForKey(key), version)
	}
	resp := req.ResponseKind()
	if err := resp.ReadFrom(c.buf); err != nil {
		return nil, fmt.Errorf("%w: %s version %d: %w", ErrBadAnswer, kmsg.NameForKey(key), version, err)
	}
	return resp, nil
}
