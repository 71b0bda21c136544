package clock

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestChoose(t *testing.T) {
	at := func(seconds ...float64) (answers []Answer) {
		for _, s := range seconds {
			answers = append(answers, Answer{time.Duration(s * float64(time.Second)), 10 * time.Millisecond})
		}
		return answers
	}
	for name, tc := range map[string]struct {
		answers []Answer
		want    time.Duration
		err     error
	}{
		"none":      {nil, 0, ErrNoAnswer},
		"one":       {at(5), 5 * time.Second, nil},
		"liar":      {at(5, 86400, 5.1), 5100 * time.Millisecond, nil},
		"liarFirst": {at(-86400, 5, 5.1), 5 * time.Second, nil},
		"twoDiffer": {at(5, 60), 0, ErrDisagree},
		"allDiffer": {at(5, 60, 120), 0, ErrDisagree},
	} {
		if a, err := Choose(tc.answers); a.Offset != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: %v (%v), want %v (%v)", name, a.Offset, err, tc.want, tc.err)
		}
	}
}

// fake is a machine whose clock is off by what offset says.
type fake struct {
	offset  time.Duration // of its clock
	right   bool
	slewed  time.Duration
	asked   []time.Duration // since the start
	started time.Time
	silent  bool
	answer  time.Duration // what the server's clock is off by
}

func (f *fake) Now() time.Time { return time.Now().Add(f.offset) }

func (f *fake) Set(t time.Time) error {
	f.offset, f.right = time.Until(t), false
	return nil
}

func (f *fake) Slew(offset, _ time.Duration) error {
	f.slewed, f.right = offset, true
	return nil
}

func (f *fake) Right(time.Duration) error {
	f.right = true
	return nil
}

func (f *fake) Ask(context.Context, string) (Answer, error) {
	f.asked = append(f.asked, time.Since(f.started))
	if f.silent {
		return Answer{}, errors.New("no route")
	}
	return Answer{f.answer - f.offset, time.Millisecond}, nil
}

func keeper(f *fake) *Keeper {
	f.started = time.Now()
	return &Keeper{Machine: f, Servers: func() []string { return []string{"ntp"} }, Log: slog.New(slog.DiscardHandler)}
}

// A clock that stands at 1970 goes to the last time known, which is not right by that,
// and a clock that is later stays.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, tc := range map[string]struct{ clock, built, saved, want time.Duration }{
			"saved": {-time.Hour, -30 * time.Minute, -time.Minute, -time.Minute},
			"built": {-time.Hour, -30 * time.Minute, -50 * time.Minute, -30 * time.Minute},
			"later": {-time.Minute, -time.Hour, -2 * time.Minute, -time.Minute},
		} {
			f := &fake{offset: tc.clock}
			k := keeper(f)
			k.Built, k.Saved = time.Now().Add(tc.built), time.Now().Add(tc.saved)
			k.Start()
			if f.offset != tc.want || f.right {
				t.Errorf("%s: off by %v and right %v, want %v", name, f.offset, f.right, tc.want)
			}
		}
	})
}

// The clock is set once a server answers, asked for again and again until then; later
// it is moved slowly, and every answer says that it is right.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{offset: -time.Hour, silent: true}
		k := keeper(f)
		ctx, cancel := context.WithCancel(t.Context())
		changed := make(chan struct{})
		k.Changed = changed
		done := make(chan struct{})
		go func() { k.Run(ctx); close(done) }()
		time.Sleep(time.Hour)
		if n := len(f.asked); n < 12 || n > 25 || f.right || f.offset != -time.Hour {
			t.Errorf("asked %d times in an hour without an answer; right %v, off %v", n, f.right, f.offset)
		}
		f.silent = false
		changed <- struct{}{} // the network is there
		synctest.Wait()
		if !f.right || f.offset.Abs() > time.Millisecond {
			t.Errorf("after an answer: right %v, off %v", f.right, f.offset)
		}
		f.right, f.answer = false, 100*time.Millisecond
		time.Sleep(nextAsk)
		synctest.Wait()
		if !f.right || f.slewed != 100*time.Millisecond || f.offset != 0 {
			t.Errorf("after another: right %v, slewed %v, off %v", f.right, f.slewed, f.offset)
		}
		cancel()
		<-done
	})
}

// A time before the program was made is believed from nobody; one before the last time
// known is, since that may have been wrong.
func TestAskBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		k := keeper(f)
		k.Built = time.Now().Add(48 * time.Hour)
		f.offset = 48 * time.Hour
		if err := k.ask(t.Context()); !errors.Is(err, ErrDisagree) || f.right || f.offset != 48*time.Hour {
			t.Errorf("before it was made: %v, right %v, off %v", err, f.right, f.offset)
		}
		k.Built, k.Saved = time.Time{}, time.Now().Add(48*time.Hour)
		if err := k.ask(t.Context()); err != nil || !f.right || f.offset != 0 {
			t.Errorf("before the last time known: %v, right %v, off %v", err, f.right, f.offset)
		}
	})
}

// What was saved is read back; what is damaged counts as nothing.
func TestSaved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "firmware")
	if at, err := Saved(dir); err != nil || !at.IsZero() {
		t.Fatalf("of nothing: %v (%v)", at, err)
	}
	now := time.Unix(1_790_000_000, 0)
	if err := Save(dir, now); err != nil {
		t.Fatal(err)
	}
	if at, err := Saved(dir); err != nil || !at.Equal(now) {
		t.Errorf("read %v (%v)", at, err)
	}
	if err := Save(dir, latest.AddDate(1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if at, err := Saved(dir); err != nil || !at.Equal(now) {
		t.Errorf("a time that cannot be was saved: %v (%v)", at, err)
	}
	for _, text := range []string{"", "179", "17x\n", "-5\n", "99999999999\n", "9999999999999999999999\n"} {
		if err := os.WriteFile(filepath.Join(dir, savedFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if at, err := Saved(dir); err == nil || !at.IsZero() {
			t.Errorf("%q is %v", text, at)
		}
	}
}
