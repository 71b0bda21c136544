package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestParsePrefix(t *testing.T) {
	for name, tc := range map[string]struct {
		b    [PrefixLen]byte
		want Prefix
		ok   bool
	}{
		"whole":     {[8]byte{0, 0, 1, 0, 0, 3, 0, 9}, Prefix{256, 3, 9}, true},
		"large":     {[8]byte{0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 9}, Prefix{1<<31 - 1, 3, 9}, true}, // the limit is not wire's
		"minusOne":  {[8]byte{0xff, 0xff, 0xff, 0xff, 0, 3, 0, 9}, Prefix{-1, 3, 9}, false},
		"zero":      {[8]byte{0, 0, 0, 0, 0, 3, 0, 9}, Prefix{0, 3, 9}, false},
		"noHeader":  {[8]byte{0, 0, 0, 7, 0, 3, 0, 9}, Prefix{7, 3, 9}, false},
		"onlyAHead": {[8]byte{0, 0, 0, 8, 0, 3, 0, 9}, Prefix{8, 3, 9}, true},
	} {
		got, err := ParsePrefix(tc.b)
		if got != tc.want || (err == nil) != tc.ok || (err != nil && !errors.Is(err, ErrMalformed)) {
			t.Errorf("%s: %+v, %v; want %+v, accepted %v", name, got, err, tc.want, tc.ok)
		}
	}
}

// Headers are read as kmsg writes them, at every version of every key that is read.
func TestParseHeader(t *testing.T) {
	format := kmsg.NewRequestFormatter(kmsg.FormatterClientID("press3"))
	for key := range int16(kmsg.MaxKey + 1) {
		req := NewRequest(key)
		if req == nil {
			continue
		}
		for version := range req.MaxVersion() + 1 {
			req.SetVersion(version)
			frame := format.AppendRequest(nil, req, 77)[lengthLen:]
			want := Header{key, version, 77, "press3"}
			if key == ControlledShutdown && version == 0 {
				want.ClientID = ""
				frame = req.AppendTo(frame) // kmsg ends at the header
			}
			h, body, err := ParseHeader(frame)
			if err != nil || h != want {
				t.Errorf("%s %d: %+v, %v; want %+v", kmsg.NameForKey(key), version, h, err, want)
			}
			if wantBody := req.AppendTo(nil); !bytes.Equal(body, wantBody) {
				t.Errorf("%s %d: body %x, want %x", kmsg.NameForKey(key), version, body, wantBody)
			}
		}
	}
}

func TestAppendResponse(t *testing.T) {
	for name, tc := range map[string]struct {
		resp    kmsg.Response
		version int16
		header  []byte // behind the correlation id
	}{
		"plain":       {kmsg.NewPtrMetadataResponse(), 8, nil},
		"flexible":    {kmsg.NewPtrMetadataResponse(), 9, []byte{0}},
		"apiVersions": {kmsg.NewPtrApiVersionsResponse(), 3, nil},
	} {
		tc.resp.SetVersion(tc.version)
		body := tc.resp.AppendTo(nil)
		want := binary.BigEndian.AppendUint32([]byte("before"), uint32(4+len(tc.header)+len(body)))
		want = append(append(append(want, 0, 0, 0, 77), tc.header...), body...)
		if got := AppendResponse([]byte("before"), 77, tc.resp); !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", name, got, want)
		}
	}
}

func TestErrorCodeNames(t *testing.T) {
	if got := UnknownTopicOrPartition.String(); got != "UNKNOWN_TOPIC_OR_PARTITION" {
		t.Errorf("name %q", got)
	}
	if got := ErrorCode(1234).String(); got != "error code 1234" {
		t.Errorf("name of an unknown code %q", got)
	}
}

// FuzzFrame: a frame's prefix and header never panic, and what they accept is
// taken from the bytes that are there.
func FuzzFrame(f *testing.F) {
	format := kmsg.NewRequestFormatter(kmsg.FormatterClientID("press3"))
	for _, version := range []int16{0, 9} {
		req := kmsg.NewPtrMetadataRequest()
		req.Version = version
		f.Add(format.AppendRequest(nil, req, 77))
	}
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < PrefixLen {
			return
		}
		p, err := ParsePrefix([PrefixLen]byte(b))
		if err != nil || int(p.Length) > len(b)-lengthLen {
			return
		}
		frame := make([]byte, p.Length)
		p.Begin(frame, [PrefixLen]byte(b))
		copy(frame[Filled:], b[PrefixLen:])
		if !bytes.Equal(frame, b[lengthLen:][:p.Length]) {
			t.Fatalf("frame %x of %x", frame, b)
		}
		h, body, err := ParseHeader(frame)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("error %v, want ErrMalformed", err)
			}
			return
		}
		if h.Key != p.Key || h.Version != p.Version || !bytes.HasSuffix(frame, body) || len(body) > len(frame)-headerLen {
			t.Errorf("header %+v and a body of %d bytes from %x", h, len(body), frame)
		}
	})
}
