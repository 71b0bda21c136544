package pull

import (
	"strconv"
	"strings"
	"time"

	"github.com/headwater/headwater/broker/record"
)

const headerVersion = "NATS/1.0\r\n"

// Headers that say where a message is stored. A record's own of these names would
// contradict them, and are left out.
const (
	headerStream       = "Nats-Stream"
	headerSubjectOf    = "Nats-Subject"
	headerSequence     = "Nats-Sequence"
	headerTimestamp    = "Nats-Time-Stamp"
	headerNumPending   = "Nats-Num-Pending"
	headerLastSequence = "Nats-Last-Sequence"
	headerUpTo         = "Nats-UpTo-Sequence"
)

var placeHeaders = []string{headerStream, headerSubjectOf, headerSequence, headerTimestamp, headerNumPending, headerLastSequence, headerUpTo}

// appendHeaders appends the NATS header block of a record, and nothing when it has
// none. The key is among them unless the subject shows it. What cannot stand in such
// a block, and what clients would take for something else, is left out.
func appendHeaders(dst []byte, r *record.Record, keyShown bool) []byte {
	begun := len(dst)
	dst = append(dst, headerVersion...)
	dst = appendRecordHeaders(dst, r, keyShown)
	if len(dst) == begun+len(headerVersion) {
		return dst[:begun]
	}
	return append(dst, "\r\n"...)
}

func appendRecordHeaders(dst []byte, r *record.Record, keyShown bool) []byte {
	for i := range r.Headers {
		h := &r.Headers[i]
		if headerName(h.Key) && headerValue(h.Value) && !misread(h.Key, len(r.Value) == 0) {
			dst = appendHeader(dst, h.Key, h.Value)
		}
	}
	if r.Key != nil && !keyShown && headerValue(r.Key) {
		dst = appendHeader(dst, headerKey, r.Key)
	}
	return dst
}

func appendHeader[T string | []byte](dst []byte, name string, value T) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// headerName reports whether a record's header can have its name in NATS.
func headerName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return name != ""
}

// headerValue reports whether a value survives in a line of text.
func headerValue(value []byte) bool {
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// misread reports whether clients would read something of their own out of a
// record's header: where it is stored, what its key is or, with no payload beside
// it, that it is no message but a status.
func misread(name string, empty bool) bool {
	switch {
	case len(name) >= len("Nats-") && strings.EqualFold(name[:len("Nats-")], "Nats-"):
		for _, place := range placeHeaders {
			if strings.EqualFold(name, place) {
				return true
			}
		}
		return false
	case strings.EqualFold(name, headerKey):
		return true
	}
	return empty && (strings.EqualFold(name, "Status") || strings.EqualFold(name, "Description"))
}

// sequence is the place of an offset in its stream.
func sequence(offset int64) uint64 { return uint64(offset) + 1 }

// offsetOf is the offset at a sequence; what no log reaches is far behind its end.
func offsetOf(sequence uint64) int64 { return int64(min(sequence, 1<<62)) - 1 }

// timeOf is a record's timestamp. One that no calendar has is told as 1970.
func timeOf(timestamp int64) time.Time {
	if timestamp < 0 || timestamp > maxTimestamp {
		timestamp = 0
	}
	return time.UnixMilli(timestamp).UTC()
}

const maxTimestamp = 253402300799999 // the end of 9999, the last year that JSON has

// found is a record on its way to a client, as it is while it is read.
type found struct {
	stream    string
	offset    int64
	timestamp int64
	subject   []byte
	keyShown  bool
	record    *record.Record
}

// appendPlaced appends the header block of a message that is got directly: where it
// is stored, then, unless plain, its own headers.
func (f *found) appendPlaced(dst []byte) []byte {
	dst = append(dst, headerVersion...)
	dst = appendHeader(dst, headerStream, f.stream)
	dst = appendHeader(dst, headerSubjectOf, f.subject)
	dst = appendHeader(dst, headerSequence, strconv.FormatUint(sequence(f.offset), 10))
	return appendHeader(dst, headerTimestamp, timeOf(f.timestamp).Format(time.RFC3339Nano))
}

// Headers is the NATS header block of a record, nil when it has none.
func Headers(r *record.Record) []byte { return appendHeaders(nil, r, true) }

// FromDevice reports whether the bridge made the record of a device's message.
func FromDevice(r *record.Record) bool {
	for i := range r.Headers {
		if r.Headers[i].Key == headerSubject {
			return true
		}
	}
	return false
}
