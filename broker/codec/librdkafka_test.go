package codec

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/headwater/headwater/broker/record"
)

// What librdkafka compressed with its own libraries is read to the last byte.
func TestLibrdkafka(t *testing.T) {
	for _, c := range codecs[1:] {
		bytes, err := os.ReadFile(filepath.Join("testdata", "librdkafka-"+c.String()+".batch"))
		if err != nil {
			t.Fatal(err)
		}
		b, rest, err := record.Next(bytes)
		if err != nil || len(rest) != 0 || b.Codec() != c || b.Validate() != nil {
			t.Fatalf("%v: %d bytes left, err %v, compression %v, invalid %v", c, len(rest), err, b.Codec(), b.Validate())
		}
		i := 0
		err = Records(b, 1<<20, func(r record.Record) bool {
			key, value := fmt.Sprintf("press%d", i%7), fmt.Sprintf("reading %d of a series, 21.%d C", i, i%10)
			if string(r.Key) != key || string(r.Value) != value || len(r.Headers) != 1 || r.Headers[0].Key != "unit" {
				t.Errorf("%v: record %d is %q: %q, want %q: %q", c, i, r.Key, r.Value, key, value)
			}
			i++
			return true
		})
		if err != nil || i != 100 {
			t.Errorf("%v: %d records, err %v, want 100", c, i, err)
		}
	}
}
