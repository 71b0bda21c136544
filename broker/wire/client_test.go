package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What kmsg encodes as an answer, whatever is in it, is read again as it was; what
// is cut off is refused.
func TestResponseShapesAreKmsgs(t *testing.T) {
	for key := range responseShapes {
		for version := range kmsg.RequestForKey(key).MaxVersion() + 1 {
			t.Run(fmt.Sprintf("%s/%d", kmsg.NameForKey(key), version), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(uint64(key), uint64(version)))
				for range 15 {
					checkResponse(t, rng, key, version)
				}
			})
		}
	}
}

func checkResponse(t *testing.T, rng *rand.Rand, key, version int16) {
	t.Helper()
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	resp := req.ResponseKind()
	fill(rng, reflect.ValueOf(resp).Elem())
	resp.SetVersion(version)
	frame := AppendResponse(nil, 7, resp)[lengthLen:]
	got, err := DecodeResponse(req, 7, frame)
	if err != nil {
		t.Fatalf("frame %x: %v", frame, err)
	}
	if again := AppendResponse(nil, 7, got)[lengthLen:]; !bytes.Equal(again, frame) {
		t.Fatalf("encoded again: %x, want %x", again, frame)
	}
	for cut := range frame {
		if _, err := DecodeResponse(req, 7, frame[:cut]); !errors.Is(err, ErrBadAnswer) {
			t.Fatalf("frame %x cut at %d: %v, want ErrBadAnswer", frame, cut, err)
		}
	}
}

// An answer to another request is not taken for the one that was waited for.
func TestResponseOfAnotherRequest(t *testing.T) {
	req := kmsg.NewPtrUpdateMetadataRequest()
	frame := AppendResponse(nil, 8, req.ResponseKind())[lengthLen:]
	if _, err := DecodeResponse(req, 7, frame); !errors.Is(err, ErrBadAnswer) {
		t.Errorf("got %v, want ErrBadAnswer", err)
	}
}

// A count of two billion costs nothing: neither memory nor, as tagged fields do
// when they are left to kmsg, a minute.
func TestResponseClaimsAreNotBelieved(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x07}
	for name, tc := range map[string]struct {
		key, version int16
		frame        []byte
	}{
		"array":      {ListOffsets, 1, []byte{0, 0, 0, 7, 0x7f, 0xff, 0xff, 0xff}},
		"compact":    {Fetch, 12, append(make([]byte, 3), append([]byte{7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, huge...)...)},
		"headerTags": {UpdateMetadata, 6, append([]byte{0, 0, 0, 7}, huge...)},
		"tags":       {UpdateMetadata, 6, append([]byte{0, 0, 0, 7, 0, 0, 0}, huge...)},
	} {
		t.Run(name, func(t *testing.T) {
			req := kmsg.RequestForKey(tc.key)
			req.SetVersion(tc.version)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := DecodeResponse(req, 7, tc.frame)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrBadAnswer) {
				t.Errorf("error %v, want ErrBadAnswer", err)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 64<<10 {
				t.Errorf("%d bytes were allocated for %d", got, len(tc.frame))
			}
		})
	}
}

// What AppendRequest writes behind other bytes is a frame that the server's side
// reads as it was.
func TestAppendRequest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for key := range shapes {
		for version := range kmsg.RequestForKey(key).MaxVersion() + 1 {
			if key == ControlledShutdown && version == 0 {
				continue
			}
			req := randomRequest(rng, key, version)
			out := AppendRequest([]byte("before"), 42, "edge", req)
			frame, ok := bytes.CutPrefix(out, []byte("before"))
			if !ok || int(binary.BigEndian.Uint32(frame)) != len(frame)-lengthLen {
				t.Fatalf("%s/%d: frame %x", kmsg.NameForKey(key), version, out)
			}
			h, body, err := ParseHeader(frame[lengthLen:])
			if want := (Header{key, version, 42, "edge"}); err != nil || h != want {
				t.Fatalf("%s/%d: header %+v, %v; want %+v", kmsg.NameForKey(key), version, h, err, want)
			}
			if !bytes.Equal(body, AsKafka(req).AppendTo(nil)) {
				t.Fatalf("%s/%d: body %x", kmsg.NameForKey(key), version, body)
			}
		}
	}
}
