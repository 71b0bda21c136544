//go:build interop

package firmware

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/firmware/machine"
	"github.com/headwater/headwater/firmware/layout"
	"github.com/headwater/headwater/firmware/update"
)

// updateCuts is how often the power goes in TestUpdate while a bundle is written.
const updateCuts, updateCutsVariable = 4, "HEADWATER_FIRMWARE_UPDATE_CUTS"

// The power goes at random places of an upload, and what the box had not synced goes with
// it: each time the old slot runs again, by itself. It goes once more at a random time
// after the upload was answered, in the restart or on trial: the box comes to rest by
// itself, on one slot or the other. Then the same bundle is installed to its end, tried
// and marked good. All the while devices publish, and whatever was acknowledged stays.
func TestUpdate(t *testing.T) {
	t.Parallel()
	rounds := number(t, updateCutsVariable, updateCuts)
	defer took(t, "%d cuts in an upload, one behind it, and a good update in all", rounds)()
	next, err := machine.Build(t.Context(), t.TempDir(), "1.1.0")
	if err != nil {
		t.Fatal(err)
	}
	u := &updated{power: newPower(t), acked: map[int64]string{}}
	u.m = newMachine(t, u.power.dir, 1<<30, withPassword(t))
	u.power.settle(t, u.m)
	u.data = bundle(t, "1.1.0", contents(t, next.Kernel), contents(t, next.Root))
	powerOn(t, u.m)
	for round := range rounds {
		u.cutInUpload(t, round)
	}
	u.cutAfterwards(t)
	u.good(t)
	if len(u.acked) < 10*(rounds+2) {
		t.Errorf("only %d records were acknowledged: that shows little", len(u.acked))
	}
	u.power.cut(t, u.m)
	checkData(t, u.m)
}

// updated is a machine that a bundle is uploaded to.
type updated struct {
	power *power
	m     *machine.Machine
	data  []byte
	acked map[int64]string
}

// cutInUpload cuts the power while a part of the bundle has not been sent.
func (u *updated) cutInUpload(t *testing.T, round int) {
	t.Helper()
	defer took(t, "cut %d", round)()
	l := startLoad(t, u.m, fmt.Sprint("upload", round), 2)
	part := &partial{data: bytes.NewReader(u.data), pause: rand.IntN(len(u.data) * 9 / 10), reached: make(chan struct{}), over: make(chan struct{})}
	type answer struct {
		status int
		text   []byte
	}
	answered := make(chan answer, 1)
	go func() {
		status, text, _ := post(t.Context(), u.m, part, len(u.data))
		answered <- answer{status, text}
	}()
	select {
	case <-part.reached:
	case a := <-answered:
		t.Fatalf("after %d of %d bytes the box answered %d %s", part.sent.Load(), len(u.data), a.status, a.text)
	}
	wait(t, rand.N(time.Second)) // what is on its way arrives, or does not
	l.end()
	u.power.cut(t, u.m)
	close(part.over)
	<-answered
	maps.Copy(u.acked, l.stop())
	powerOn(t, u.m)
	s, err := status(t.Context(), u.m)
	if err != nil {
		t.Fatal(err)
	}
	if s.Running != layout.A || s.Slots[0].Version != "1.0.0" || s.Slots[0].State != update.SlotGood || s.Slots[1].State != update.SlotEmpty || s.Last != nil && s.Last.Outcome != update.Failed {
		t.Errorf("after a cut in the upload the box has %+v, last %+v", s, s.Last)
	}
	t.Logf("cut after %d of %d bytes: last %+v", part.sent.Load(), len(u.data), s.Last)
	checkAcked(t, u.m, u.acked)
}

// partial is the body of an upload that comes to a stand after pause bytes, and ends when
// over is closed.
type partial struct {
	data    *bytes.Reader
	pause   int
	sent    atomic.Int64
	reached chan struct{} // closed when it stands
	over    chan struct{}
}

func (p *partial) Read(buf []byte) (int, error) {
	left := p.pause - int(p.sent.Load())
	if left <= 0 {
		close(p.reached)
		<-p.over
		return 0, fmt.Errorf("the power went")
	}
	n, err := p.data.Read(buf[:min(len(buf), left)])
	p.sent.Add(int64(n))
	return n, err
}

// cutAfterwards cuts the power when the upload was answered.
func (u *updated) cutAfterwards(t *testing.T) {
	t.Helper()
	defer took(t, "cut behind an upload")()
	l := startLoad(t, u.m, "afterwards", 2)
	upload(t, u.m, u.data)
	later := rand.N(30 * time.Second) // the restart and the first of the trial
	wait(t, later)
	l.end()
	u.power.cut(t, u.m)
	maps.Copy(u.acked, l.stop())
	powerOn(t, u.m)
	s := awaitStatus(t, u.m, func(s update.Status) bool { return s.Last != nil && s.Last.Outcome != update.Trial })
	if s.Last.Outcome == update.Good != (s.Running == layout.B) {
		t.Errorf("after a cut %.1f s behind the upload the box has %+v, last %+v", later.Seconds(), s, s.Last)
	}
	awaitReady(t, u.m, time.Now())
	t.Logf("cut %.1f s behind the answer: slot %s runs", later.Seconds(), s.Running)
	checkAcked(t, u.m, u.acked)
}

// good installs the bundle to its end.
func (u *updated) good(t *testing.T) {
	t.Helper()
	defer took(t, "the good update")()
	s, err := status(t.Context(), u.m)
	if err != nil {
		t.Fatal(err)
	}
	target := s.Running.Other()
	l := startLoad(t, u.m, "good", 2)
	upload(t, u.m, u.data)
	maps.Copy(u.acked, l.stop()) // it ends with the box's restart
	s = awaitStatus(t, u.m, func(s update.Status) bool { return s.Running == target && s.Last.Outcome == update.Good })
	awaitReady(t, u.m, time.Now())
	for _, slot := range s.Slots {
		if slot.Slot == target && (slot.Version != "1.1.0" || slot.State != update.SlotGood) {
			t.Errorf("after the good update the box has %+v", s)
		}
	}
	log := boxLog(t, u.m)
	for said, times := range map[string]int{"headwater starts this machine": 3, "new version is good": 1, "machine goes down": 1} {
		if n := strings.Count(log, said); n < times {
			t.Errorf("the box's log has %q %d times, want %d or more", said, n, times)
		}
	}
	checkAcked(t, u.m, u.acked)
}
