package wire

import (
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// NewRequest makes what kmsg makes, of every key that some part of the program reads or
// sends, and of no other.
func TestNewRequest(t *testing.T) {
	for key := int16(-1); key <= kmsg.MaxKey+1; key++ {
		_, read := shapes[key]
		_, sent := responseShapes[key]
		got := NewRequest(key)
		if known := read || sent || key == Produce; known != (got != nil) {
			t.Errorf("%s: made %T, though its place among the shapes is %v", kmsg.NameForKey(key), got, known)
		}
		if want := kmsg.RequestForKey(key); got != nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %T %+v, want %T %+v", kmsg.NameForKey(key), got, got, want, want)
		}
	}
}
