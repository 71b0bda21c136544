package partition

import (
	"errors"
	"testing"
)

// A leader loses its role, its records are truncated, and it leads again with others at
// their offsets: who waits for the first is not told that they are safe, though all that
// lies at these offsets is. Who asks only then cannot know.
func TestAppendThenWaitsForItsOwn(t *testing.T) {
	r := newRegion(t, minISR(1))
	old := r.leader()
	for range 2 {
		told := make(chan error, 3)
		note := func(_ int64, err error) { told <- err }
		end := old.State().LogEndOffset
		old.AppendThen(batch(3, 0), true, note)
		old.AppendAtThen(batch(2, 0), end+3, func(err error) { told <- err })
		if len(told) > 0 {
			t.Fatalf("told too soon: %v", <-told)
		}
		r.elect(t, 2, 1, 2, 3)
		for range 2 {
			if err := <-told; !errors.Is(err, ErrNotLeader) {
				t.Errorf("who waited was told %v, want %v", err, ErrNotLeader)
			}
		}
		mustAppend(t, r.leader(), batch(9, 0))
		r.catchUp(t, 1, 3)
		r.elect(t, 1, 1, 2, 3)
		r.catchUp(t, 2, 3)
		if err := await(old.AwaitAll, end+5); err != nil {
			t.Errorf("the others are not committed: %v", err)
		}
		if len(told) > 0 {
			t.Errorf("told once more: %v", <-told)
		}
	}
	refused := make(chan error, 1)
	r.hubs[2].p.AppendThen(batch(1, 0), true, func(base int64, err error) {
		if base != -1 {
			t.Errorf("refused, and has offset %d", base)
		}
		refused <- err
	})
	if err := <-refused; !errors.Is(err, ErrNotLeader) {
		t.Errorf("a follower: %v", err)
	}
}
