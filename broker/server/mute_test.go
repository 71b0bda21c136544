package server

import (
	"testing"
	"testing/synctest"
	"time"
)

// A muted connection is answered what it has asked, and nothing else of it is started
// until its time is over, also when it was sent in one with the first. The others
// are served meanwhile.
func TestMute(t *testing.T) {
	for name, tc := range map[string]struct {
		key                   int16
		ready                 bool
		muteStart, muteFinish map[int32]time.Duration
	}{
		"pipelinedAtStart":  {ahead, false, map[int32]time.Duration{1: 3 * time.Second}, nil},
		"pipelinedAtFinish": {ahead, false, nil, map[int32]time.Duration{1: 3 * time.Second}},
		"pipelinedReady":    {ahead, true, map[int32]time.Duration{1: 3 * time.Second}, nil},
		"singleAtFinish":    {single, false, nil, map[int32]time.Duration{1: 3 * time.Second}},
		"singleReady":       {single, true, nil, map[int32]time.Duration{1: 3 * time.Second}},
		"theLongerCounts":   {single, false, map[int32]time.Duration{1: 3 * time.Second}, map[int32]time.Duration{1: time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newEcho()
				h.ready, h.muteStart, h.muteFinish = tc.ready, tc.muteStart, tc.muteFinish
				r := run(t, DefaultConfig(), h)
				muted, other := r.dial(), r.dial()
				defer muted.Close()
				defer other.Close()
				start := time.Now()
				if tc.muteStart == nil && tc.key == ahead && !tc.ready { // what was sent ahead may be started before the first is finished
					send(muted, request(tc.key, 1, 8))
					answersWhole(t, muted, 1, 8)
					send(muted, request(tc.key, 2, 8))
				} else {
					send(muted, request(tc.key, 1, 8), request(tc.key, 2, 8))
					answersWhole(t, muted, 1, 8)
				}
				send(other, request(tc.key, 5, 8))
				answersWhole(t, other, 5, 8)
				if took := time.Since(start); took != 0 {
					t.Errorf("the first answers took %v, want none", took)
				}
				answersWhole(t, muted, 2, 8)
				if took := time.Since(start); took != 3*time.Second {
					t.Errorf("the second answer took %v, want 3s", took)
				}
			})
		})
	}
}

// A muted connection is not idle: the time for that begins when it is heard again.
func TestMutedIsNotIdle(t *testing.T) {
	for name, wait := range map[string]time.Duration{"mutedAtOnce": 0, "mutedWhileWaiting": 800 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newEcho()
				h.muteFinish = map[int32]time.Duration{1: 3500 * time.Millisecond}
				h.hold[1] = make(chan struct{})
				time.AfterFunc(wait, func() { close(h.hold[1]) })
				cfg := DefaultConfig()
				cfg.IdleTimeout = time.Second
				r := run(t, cfg, h)
				c := r.dial()
				defer c.Close()
				send(c, request(single, 1, 8))
				answersWhole(t, c, 1, 8)
				start := time.Now()
				r.closedFor(t, c, "idle")
				if open := time.Since(start); open != 4500*time.Millisecond {
					t.Errorf("closed %v after the answer, want the 3.5s for which it was muted and one more", open)
				}
			})
		})
	}
}

// A server that stops does not wait for those whom it keeps waiting.
func TestStopEndsMute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newEcho()
		h.muteStart = map[int32]time.Duration{1: time.Hour}
		r := run(t, DefaultConfig(), h)
		c := r.dial()
		defer c.Close()
		send(c, request(single, 1, 8), request(single, 2, 8))
		answersWhole(t, c, 1, 8)
		synctest.Wait()
		start := time.Now()
		r.stop()
		if err := <-r.done; err != nil || time.Since(start) != 0 {
			t.Errorf("Run returned %v after %v, want nil at once", err, time.Since(start))
		}
		r.done <- nil
	})
}
