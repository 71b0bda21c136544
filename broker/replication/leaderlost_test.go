package replication

import (
	"testing"
	"time"

	"github.com/headwater/headwater/broker/wire"
)

// What a leader answers that leads no more is not appended once another order holds,
// and the new leader is followed at once.
func TestLeaderMoves(t *testing.T) {
	inRegion(t, nil, func(r *region) {
		r.host(1, press, newMemLog(4, 1), newMemLog(4))
		r.host(2, press, newMemLog(5, 1, 5), r.replicas[press])
		r.follow(1, press)
		after(100 * time.Millisecond) // a fetch waits at the first leader
		ours := r.replicas[press]
		ours.with(func() { ours.leaderEpoch = 5 })
		r.follow(2, press)
		r.grow(1, press, 3) // which answers that fetch
		after(100 * time.Millisecond)
		r.same(2, press)
		r.leaders[1].fetched()
		r.leaders[2].fetched()
		after(10 * time.Second)
		if n := len(r.leaders[1].fetched()); n != 0 || r.leaders[1].open != 0 {
			t.Errorf("%d fetches at the leader of before, %d connections", n, r.leaders[1].open)
		}
		r.fetchers.Unfollow(press.Topic, press.Index)
		after(time.Millisecond)
		r.grow(2, press, 1)
		r.leaders[2].fetched()
		after(10 * time.Second)
		if n := len(r.leaders[2].fetched()); n != 0 || ours.end != 4 || len(r.fetchers.Lags()) != 0 {
			t.Errorf("%d fetches for what nobody follows; end %d", n, ours.end)
		}
	})
}

// An order for the same leader in a later epoch makes an answer in the earlier one
// void, and the same goes for the same epoch given twice.
func TestEpochMoves(t *testing.T) {
	inRegion(t, nil, func(r *region) {
		r.host(1, press, newMemLog(4, 1), newMemLog(4))
		r.follow(1, press)
		after(100 * time.Millisecond)
		ours, theirs := r.replicas[press], r.leaders[1].logs[press]
		ours.with(func() { ours.leaderEpoch = 6 })
		r.follow(1, press)
		after(5 * time.Second) // the leader does not know yet
		if theirs.with(func() { theirs.leaderEpoch = 6 }); r.logged("not followed") != 1 {
			t.Errorf("log: %s", &r.log)
		}
		r.grow(1, press, 2)
		r.follow(1, press)
		after(2 * time.Second)
		r.same(1, press)
	})
}

// A leader that restarts is found again, dialled no more often than makes sense, and
// goes on with a session of its own.
func TestLeaderRestarts(t *testing.T) {
	inRegion(t, nil, func(r *region) {
		l := r.leaders[1]
		r.host(1, press, newMemLog(4, 1), newMemLog(4))
		r.follow(1, press)
		after(time.Second)
		l.change(func() { l.down = true })
		l.restart()
		after(time.Minute)
		if l.dialled < 30 || l.dialled > 150 {
			t.Errorf("dialled %d times in a minute", l.dialled)
		}
		r.grow(1, press, 1)
		l.change(func() { l.down = false })
		after(2 * time.Second)
		r.same(1, press)
		if r.logged("no records from a leader") != 1 || r.logged("answers again") != 1 {
			t.Errorf("log: %s", &r.log)
		}
	})
}

// A session that the leader has forgotten is begun anew without a pause; a leader that
// refuses every session is not asked all the time.
func TestLostSession(t *testing.T) {
	inRegion(t, nil, func(r *region) {
		l := r.leaders[1]
		r.host(1, press, newMemLog(4, 1), newMemLog(4))
		r.follow(1, press)
		after(time.Second)
		l.change(func() { clear(l.sessions) })
		after(600 * time.Millisecond)
		r.grow(1, press, 1)
		after(time.Millisecond)
		r.same(1, press)
		l.change(func() { l.code = wire.InvalidFetchSessionEpoch })
		l.fetched()
		after(time.Minute)
		if n := len(l.fetched()); n < 30 || n > 100 {
			t.Errorf("%d fetches in a minute", n)
		}
		l.change(func() { l.code = wire.None })
		r.grow(1, press, 1)
		after(2 * time.Second)
		r.same(1, press)
		if got := r.logged("level=WARN"); got != 1 {
			t.Errorf("%d warnings: %s", got, &r.log)
		}
	})
}

// After a connection that was lost nobody knows whether the leader has taken the last
// fetch in: the session is not gone on with.
func TestSessionAfterLostConnection(t *testing.T) {
	inRegion(t, nil, func(r *region) {
		r.host(1, press, newMemLog(4, 1), newMemLog(4))
		r.follow(1, press)
		for range 10 {
			after(time.Second)
			r.leaders[1].hangUp()
			r.grow(1, press, 1)
		}
		after(time.Second)
		r.same(1, press)
		if l := r.leaders[1]; l.invalid != 0 || len(l.sessions) != 1 {
			t.Errorf("%d fetches over a session that was further on; %d sessions", l.invalid, len(l.sessions))
		}
	})
}

// A leader that answers nothing holds up nobody who follows another, and is followed
// again when it is back.
func TestFrozenLeader(t *testing.T) {
	inRegion(t, nil, func(r *region) {
		r.host(1, press, newMemLog(4, 1), newMemLog(4))
		r.host(2, pump, newMemLog(4, 1), newMemLog(4))
		r.leaders[1].change(func() { r.leaders[1].frozen = true })
		r.follow(1, press)
		r.follow(2, pump)
		after(10 * time.Minute)
		r.grow(2, pump, 5)
		after(time.Second)
		r.same(2, pump)
		r.leaders[1].change(func() { r.leaders[1].frozen = false })
		after(time.Minute)
		r.same(1, press)
	})
}

// A leader from before Fetch version 12 is not fetched from, which is said once.
func TestOldLeader(t *testing.T) {
	inRegion(t, nil, func(r *region) {
		l := r.leaders[1]
		l.offered = 11
		r.host(1, press, newMemLog(4, 1), newMemLog(4))
		r.follow(1, press)
		after(time.Minute)
		if len(l.fetched()) != 0 || r.logged("before 2.7") != 1 {
			t.Errorf("log: %s", &r.log)
		}
		l.offered = 12
		l.restart()
		after(5 * time.Second)
		r.same(1, press)
	})
}
