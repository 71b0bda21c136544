package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What is encoded, whatever is in it, has the shape that stands here, to the
// last byte; and what Decode makes of it is what was encoded.
func TestShapesAreKmsgs(t *testing.T) {
	for key, shape := range shapes {
		for version := range kmsg.RequestForKey(key).MaxVersion() + 1 {
			t.Run(fmt.Sprintf("%s/%d", kmsg.NameForKey(key), version), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(uint64(key), uint64(version)))
				for range 15 {
					body := AsKafka(randomRequest(rng, key, version)).AppendTo(nil)
					checkShape(t, key, version, shape, body)
				}
			})
		}
	}
}

func checkShape(t *testing.T, key, version int16, shape group, body []byte) {
	t.Helper()
	c := cursor{buf: body}
	w := walker{version: version, flexible: flexible(key, version)}
	if w.group(&c, shape); c.bad || len(c.buf) != 0 {
		t.Fatalf("body %x: bad %v, %d bytes left over", body, c.bad, len(c.buf))
	}
	req, err := Decode(key, version, body)
	if err != nil {
		t.Fatalf("body %x: %v", body, err)
	}
	if again := AsKafka(req).AppendTo(nil); !bytes.Equal(again, body) {
		t.Fatalf("encoded again: %x, want %x", again, body)
	}
	for cut := range body {
		if _, err := Decode(key, version, body[:cut]); !errors.Is(err, ErrMalformed) {
			t.Fatalf("body %x cut at %d: %v, want ErrMalformed", body, cut, err)
		}
	}
}

func randomRequest(rng *rand.Rand, key, version int16) kmsg.Request {
	req := kmsg.RequestForKey(key)
	fill(rng, reflect.ValueOf(req).Elem())
	req.SetVersion(version)
	return req
}

// fill gives every field of v a random value, and some structures a tagged field
// that nobody knows.
func fill(rng *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if tags, ok := v.Addr().Interface().(*kmsg.Tags); ok {
			if rng.IntN(8) == 0 {
				tags.Set(40+rng.Uint32N(1<<20), make([]byte, rng.IntN(200)))
			}
			return
		}
		for i := range v.NumField() {
			fill(rng, v.Field(i))
		}
	case reflect.Pointer:
		if rng.IntN(3) > 0 || v.Type().Elem().Kind() != reflect.String {
			v.Set(reflect.New(v.Type().Elem()))
			fill(rng, v.Elem())
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rng.IntN(3), 3))
		for i := range v.Len() {
			fill(rng, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(rng, v.Index(i))
		}
	case reflect.String:
		v.SetString(string(bytes.Repeat([]byte{'a' + byte(rng.IntN(26))}, rng.IntN(200))))
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	case reflect.Uint8:
		v.SetUint(uint64(rng.IntN(256)))
	case reflect.Float64:
		v.SetFloat(rng.NormFloat64())
	default:
		v.SetInt(int64(int8(rng.Uint64())))
	}
}

// Counts of two billion, in nine bytes: refused at once, and nothing is allocated
// for them. Left to kmsg, the last takes a minute.
func TestClaimsAreNotBelieved(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x07} // compact: 2,147,483,646
	for name, tc := range map[string]struct {
		key, version int16
		body         []byte
	}{
		"array":         {Metadata, 0, []byte{0x7f, 0xff, 0xff, 0xff}},
		"compactArray":  {Metadata, 9, huge},
		"innerArray":    {Fetch, 4, append(make([]byte, 17), 0, 0, 0, 1, 0, 1, 'a', 0x7f, 0xff, 0xff, 0xff)},
		"scalars":       {CreateTopics, 0, []byte{0, 0, 0, 1, 0, 1, 'a', 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff}},
		"string":        {DeleteTopics, 1, []byte{0, 0, 0, 1, 0x7f, 0xff, 'a'}},
		"tags":          {Metadata, 9, append([]byte{0, 0, 0, 0}, huge...)},
		"tagsInside":    {Metadata, 9, append([]byte{2, 2, 'a'}, huge...)},
		"tagsInATag":    {Fetch, 15, append(append(make([]byte, 21), 1, 1, 1, 1, 1, 17), append(make([]byte, 12), huge...)...)},
		"tooManyTags":   {APIVersions, 3, append([]byte{1, 1, 65}, bytes.Repeat([]byte{50, 0}, 65)...)},
		"tagLength":     {APIVersions, 3, append([]byte{1, 1, 1, 7}, huge...)},
		"cursor":        {DescribeTopicPartitions, 0, append([]byte{1, 0, 0, 0, 1, 1}, huge...)},
		"negativeCount": {Metadata, 1, []byte{0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Decode(tc.key, tc.version, tc.body)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("error %v, want ErrMalformed", err)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 64<<10 {
				t.Errorf("%d bytes were allocated for %d", got, len(tc.body))
			}
		})
	}
}

// FuzzDecode: whatever the bytes, Decode returns, soon, and does not panic; what
// has the shape of a request, kmsg can read.
func FuzzDecode(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for key := range shapes {
		for version := range kmsg.RequestForKey(key).MaxVersion() + 1 {
			body := AsKafka(randomRequest(rng, key, version)).AppendTo(nil)
			f.Add(key, version, body)
			f.Add(key, version, body[:max(len(body)-1, 0)])
		}
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		shape, ok := shapes[key]
		if !ok || version < 0 || version > kmsg.RequestForKey(key).MaxVersion() {
			return
		}
		req, err := Decode(key, version, body)
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("error %v, want ErrMalformed", err)
		}
		w := walker{version: version, flexible: flexible(key, version)}
		if fits := w.fits(body, shape); fits != (err == nil) {
			t.Errorf("body %x: fits %v, but kmsg says %v", body, fits, err)
		}
		if err == nil {
			req.AppendTo(nil)
		}
	})
}
