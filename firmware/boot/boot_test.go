package boot

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/firmware/boot/clock"
	"github.com/headwater/headwater/firmware/boot/netup"
)

// run runs the machine's life in a bubble, and fails if it does not end by itself.
func run(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newWorld(t)) })
}

// What stands on something comes after it, on the way up and on the way down.
func TestOrder(t *testing.T) {
	run(t, func(w *world) {
		w.after(time.Minute, syscall.SIGTERM)
		if err := Run(w.opts); err != nil {
			t.Fatal(err)
		}
		w.inOrder(t, "mount /proc", "mount /sys", "mount /dev", "mount /run", "mount /tmp", "tune", "watchdog",
			"find hw-boot", "mount /boot", "hostname press-3", "bind /etc/resolv.conf", "on trial?",
			"find hw-data", "grow partition hw-data", "check /dev/hw-data", "mount /data", "grow file system /data", "settle", "start serve",
			"child ended", "network ends", "kill others", "unmount /data", "unmount /boot", "sync", "reboot")
		w.inOrder(t, "hostname press-3", "network", "start serve") // beside the data partition's check
		if n := w.count("start"); n != 1 {
			t.Errorf("%d starts", n)
		}
		if w.disarmed || w.count("mark good") > 0 {
			t.Error("the watchdog was disarmed, or something marked good")
		}
		log, err := os.ReadFile(filepath.Join(w.opts.places.logs, "headwater.log"))
		for _, want := range []string{"headwater starts this machine", "level=INFO msg=ready", "headwater serve is ready", "machine goes down"} {
			if err != nil || !strings.Contains(string(log), want) || !strings.Contains(w.console.String(), want) {
				t.Errorf("%q is not in the log (%v) and on the console", want, err)
			}
		}
		if at, err := clock.Saved(w.opts.places.state); err != nil || time.Since(at) > 10*time.Second {
			t.Errorf("the time saved is %v (%v)", at, err)
		}
	})
}

// Another process than the first does nothing at all.
func TestNotFirst(t *testing.T) {
	run(t, func(w *world) {
		w.pid = 7
		if err := Run(w.opts); !errors.Is(err, ErrNotInit) || len(w.done) > 0 {
			t.Errorf("%v; did %v", err, w.done)
		}
	})
}

func TestPowerOff(t *testing.T) {
	run(t, func(w *world) {
		w.after(time.Minute, syscall.SIGUSR2)
		Run(w.opts)
		w.inOrder(t, "unmount /data", "disarm", "power off")
	})
}

// A signal that comes while the machine is on its way up ends it, too.
func TestEarlySignal(t *testing.T) {
	run(t, func(w *world) {
		w.signals <- syscall.SIGINT
		Run(w.opts)
		w.inOrder(t, "mount /data", "unmount /data", "reboot")
	})
}

// What can be done without does not keep the broker from its work.
func TestGoesOn(t *testing.T) {
	for _, what := range []string{"tune", "watchdog", "loopback", "find hw-boot", "mount /boot", "hostname", "bind", "on trial?", "grow", "check", "settle", "set clock", "unmount"} {
		run(t, func(w *world) {
			w.fail[what], w.offset = errors.New("broken"), -2*time.Hour
			w.after(time.Minute, syscall.SIGTERM)
			Run(w.opts)
			w.inOrder(t, "start serve", "child ended", "unmount /data", "reboot")
			if !strings.Contains(w.console.String(), "broken") {
				t.Errorf("%s failed, and nobody said so", what)
			}
		})
	}
}

// Without its data there is nothing to serve: the machine starts again, at once if the
// version before may do better.
func TestNoData(t *testing.T) {
	for _, onTrial := range []bool{false, true} {
		run(t, func(w *world) {
			w.fail["mount /data"] = errors.New("bad superblock")
			w.updates.onTrial = onTrial
			Run(w.opts)
			w.inOrder(t, "mount /data", "unmount /boot", "reboot")
			if n := w.count("start") + w.count("unmount /data"); n > 0 {
				t.Errorf("%d things done without data", n)
			}
			took := time.Since(w.started)
			if onTrial && (took > time.Second || !strings.Contains(w.updates.failed, "bad superblock")) || !onTrial && took < cannotGoOn {
				t.Errorf("on trial %v: took %v, failed by %q", onTrial, took, w.updates.failed)
			}
		})
	}
}

// A new version that is ready for 20 s without a break is good, and not sooner. What the
// region does is asked of the version if the one before had it, and not afterwards.
func TestTrialGood(t *testing.T) {
	readyFrom := func(from time.Duration, but ...time.Duration) func(time.Duration) bool {
		return func(since time.Duration) bool { return since >= from && !slices.Contains(but, since) }
	}
	always := readyFrom(0)
	for name, tc := range map[string]struct {
		ready, caughtUp func(since time.Duration) bool
		wanted          bool          // it had caught up before
		failing         string        // of what else is done
		from, to        time.Duration // when it is marked good
	}{
		"atOnce":       {always, always, false, "", 20 * time.Second, 25 * time.Second},
		"breaks":       {readyFrom(time.Minute, 78*time.Second, 96*time.Second), always, false, "", 118 * time.Second, 122 * time.Second},
		"catchesUp":    {always, readyFrom(5 * time.Minute), true, "", 320 * time.Second, 325 * time.Second},
		"fallsBehind":  {always, readyFrom(5*time.Minute, 318*time.Second), true, "", 340 * time.Second, 345 * time.Second},
		"wasBehind":    {always, readyFrom(5 * time.Minute), false, "", 20 * time.Second, 25 * time.Second},
		"stateUnknown": {always, readyFrom(5 * time.Minute), true, "was caught up?", 20 * time.Second, 25 * time.Second},
	} {
		run(t, func(w *world) {
			w.updates.onTrial, w.updates.caughtUp = true, tc.wanted
			if tc.failing != "" {
				w.fail[tc.failing] = errors.New("broken")
			}
			w.health = func() health { return health{alive: true, ready: tc.ready(time.Since(w.started))} }
			w.behind = func() string {
				if since := time.Since(w.started); tc.caughtUp(since) && since < 30*time.Minute {
					return ""
				}
				return "503: broker: not registered with ZooKeeper"
			}
			w.after(time.Hour, syscall.SIGTERM)
			Run(w.opts)
			if at := w.updates.goodAt; at < tc.from || at > tc.to || w.count("mark good") != 1 {
				t.Errorf("%s: marked good after %v, %d times; want %v to %v", name, at, w.count("mark good"), tc.from, tc.to)
			}
			if w.count("start") != 1 || time.Since(w.started) < time.Hour || strings.Contains(w.console.String(), "not ready any more") != (name == "breaks" || name == "fallsBehind") {
				t.Errorf("%s: it did not go on with it: %s", name, w.console.String())
			}
		})
	}
}

// Nothing is asked of the state of updates where nothing is on trial.
func TestNoTrial(t *testing.T) {
	run(t, func(w *world) {
		w.updates.caughtUp, w.behind = true, func() string { return "503: broker: not registered with ZooKeeper" }
		w.after(time.Hour, syscall.SIGTERM)
		Run(w.opts)
		if w.count("was caught up?") > 0 || w.count("mark good") > 0 || !strings.Contains(w.console.String(), "headwater serve is ready") {
			t.Errorf("done was %q", w.done)
		}
	})
}

// One that does not get ready, in whatever way, is left within the limit, and it is said
// why.
func TestTrialFails(t *testing.T) {
	notReady := func() health { return health{alive: true, why: "503: broker: recovers"} }
	behind := "503: broker: replicas here that are not in the ISR of their partition: 1 (press-0)"
	for name, tc := range map[string]struct {
		set func(w *world)
		why string
	}{
		"neverReady":   {func(w *world) { w.health = notReady }, "in 10m0s: 503: broker: recovers"},
		"neverAnswers": {func(w *world) { w.health = func() health { return health{why: "refused"} } }, "in 10m0s: refused"},
		"ends":         {func(w *world) { w.child = func(*process) {} }, "ended with code 3"},
		"startFails":   {func(w *world) { w.fail["start"] = errors.New("no such file") }, "no such file"},
		"shortLimit":   {func(w *world) { w.line += " hw.trial=60s"; w.health = notReady }, "in 1m0s: 503: broker: recovers"},
		"badSite":      {func(w *world) { w.writeSite(t, "hostnam: x") }, "hostnam is not known here"},
		"notNoted":     {func(w *world) { w.fail["mark good"] = errors.New("read-only") }, "in 10m0s: it is good, and that was not noted: read-only"},
		"neverCaughtUp": {func(w *world) {
			w.updates.caughtUp, w.behind = true, func() string { return behind }
		}, "in 10m0s: " + behind},
		"flaps": {func(w *world) {
			w.health = func() health {
				return health{alive: true, ready: time.Since(w.started)%(20*time.Second) < 15*time.Second}
			}
		}, "in 10m0s: it is ready, and was not for 20s without a break"},
	} {
		run(t, func(w *world) {
			w.updates.onTrial = true
			tc.set(w)
			w.after(time.Hour, syscall.SIGTERM) // of one that is taken for good
			Run(w.opts)
			w.inOrder(t, "trial failed", "unmount /data", "reboot")
			limit := 12 * time.Minute
			if name == "shortLimit" {
				limit = 70 * time.Second
			}
			if took := time.Since(w.started); took > limit || !strings.HasPrefix(w.updates.failed, ErrTrialFailed.Error()) || !strings.Contains(w.updates.failed, tc.why) {
				t.Errorf("%s: took %v, failed by %q", name, took, w.updates.failed)
			}
			if w.count("mark good") > 0 != (name == "notNoted") {
				t.Errorf("%s: marked good %d times", name, w.count("mark good"))
			}
		})
	}
}

// What ends is started again, later each time; what ends always restarts the machine.
func TestBackOff(t *testing.T) {
	run(t, func(w *world) {
		w.child = func(p *process) { time.Sleep(time.Millisecond) }
		Run(w.opts)
		w.inOrder(t, "start serve", "unmount /data", "reboot")
		if n := len(w.children); n != maxFailures+1 {
			t.Errorf("%d starts before the machine was restarted", n)
		}
		for i := 1; i < len(w.children); i++ {
			if wait := w.children[i].at - w.children[i-1].at; wait < time.Second || wait > lastBackOff+time.Second || i > 8 && wait < lastBackOff {
				t.Errorf("start %d after %v", i, wait)
			}
		}
	})
	run(t, func(w *world) { // what runs for long starts at once
		w.child = func(p *process) { time.Sleep(stableAfter) }
		w.after(24*time.Hour, syscall.SIGTERM)
		Run(w.opts)
		if n := len(w.children); n < 140 {
			t.Errorf("%d starts in a day", n)
		}
	})
}

// Who does not answer any more is killed if need be, and started again; who is slow at
// first is given time.
func TestSilent(t *testing.T) {
	run(t, func(w *world) {
		w.child = func(p *process) {
			for sig := range p.signals {
				if sig == syscall.SIGKILL {
					return
				}
			}
		}
		w.health = func() health {
			w.mu.Lock()
			p := w.children[len(w.children)-1]
			w.mu.Unlock()
			since := time.Since(w.started) - p.at
			return health{alive: since > 10*time.Minute && since < 12*time.Minute}
		}
		w.after(20*time.Minute, syscall.SIGTERM)
		Run(w.opts)
		if len(w.children) != 2 {
			t.Fatalf("%d starts", len(w.children))
		}
		if at := w.children[1].at; at < 14*time.Minute || at > 14*time.Minute+stopLimit+10*time.Second {
			t.Errorf("started again after %v", at)
		}
		if took := time.Since(w.started); took < 20*time.Minute+stopLimit {
			t.Errorf("took %v", took)
		}
	})
}

// The watchdog is petted as long as things go on, and not when something hangs.
func TestWatchdog(t *testing.T) {
	run(t, func(w *world) {
		w.after(time.Hour, syscall.SIGTERM)
		Run(w.opts)
		last := time.Duration(0)
		for _, at := range append(w.pets, time.Since(w.started)) {
			if at-last > 6*time.Second {
				t.Fatalf("not petted from %v to %v", last, at)
			}
			last = at
		}
	})
	for hang, limit := range map[string]time.Duration{"mount /data": stageLimit, "check": checkLimit + stageLimit, "mark good": 3 * time.Minute, "unmount": 5 * time.Minute} {
		run(t, func(w *world) {
			w.hang, w.updates.onTrial = hang, true
			w.after(2*time.Minute, syscall.SIGTERM)
			Run(w.opts) // after a time in which the hardware had reset it
			late := func(at time.Duration) bool { return at > limit+2*time.Minute && at < hangs-time.Minute }
			if i := slices.IndexFunc(w.pets, late); i >= 0 || len(w.pets) == 0 {
				t.Errorf("%s hangs: petted %d times, after %v too", hang, len(w.pets), w.pets[i])
			}
		})
	}
	run(t, func(w *world) {
		w.line += " hw.watchdog=off"
		w.after(time.Minute, syscall.SIGTERM)
		Run(w.opts)
		if w.count("watchdog") > 0 {
			t.Error("armed, though it was told not to be")
		}
	})
}

// A box is open to who asks how it is, and to others where its site says so and nothing
// is wrong with it, by us or by who knows the settings.
func TestSite(t *testing.T) {
	for name, tc := range map[string]struct {
		site   string
		listen string // Kafka's
		admin  string
		said   string
	}{
		"empty":    {"", "", "0.0.0.0:8080", "no port is open to the network"},
		"settings": {"settings: {kafka.listen: '10.0.0.5:1', admin: {listen: '127.0.0.1:80'}}", "", "", "is ready"},
		"unknown":  {"hostnam: x\nntp: ['a b']", "", "0.0.0.0:8080", "hostnam is not known here"},
		"refused":  {"settings: {kafka.lsten: x}", "", "0.0.0.0:8080", "did you mean kafka.listen?"},
	} {
		run(t, func(w *world) {
			w.writeSite(t, tc.site)
			w.opts.Settings = func(file string, _ []string) (Serve, error) {
				if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), "lsten") {
					return Serve{}, errors.Join(err, errors.New("did you mean kafka.listen?"))
				}
				return Serve{Admin: "0.0.0.0:8080", Kafka: "127.0.0.1:9092"}, nil
			}
			w.after(time.Minute, syscall.SIGTERM)
			Run(w.opts)
			p := w.children[0]
			if kafka, admin := p.variable("HEADWATER_KAFKA_LISTEN"), p.variable("HEADWATER_ADMIN_LISTEN"); kafka != tc.listen || admin != tc.admin {
				t.Errorf("%s: listens on %q and %q, want %q and %q", name, kafka, admin, tc.listen, tc.admin)
			}
			if p.variable("HEADWATER_DATA_DIR") != "/data/headwater" || p.variable("HEADWATER_MEMORY_LIMIT") != "629145600" || !strings.Contains(w.console.String(), tc.said) {
				t.Errorf("%s: started with %v; said %s", name, p.env, w.console.String())
			}
		})
	}
}

// The files of a site are for the broker alone, and not on flash.
func TestSiteFiles(t *testing.T) {
	run(t, func(w *world) {
		w.writeSite(t, "files: {ca.pem: one}\nsettings: {kafka.advertise: 'box:1'}")
		w.after(time.Minute, syscall.SIGTERM)
		Run(w.opts)
		for name, want := range map[string]string{"ca.pem": "one", "headwater.yaml": "{kafka.advertise: 'box:1'}\n"} {
			path := filepath.Join(w.opts.places.run, name)
			text, err := os.ReadFile(path)
			info, statErr := os.Stat(path)
			if err != nil || statErr != nil || string(text) != want || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %q (%v, %v)", name, text, err, statErr)
			}
		}
	})
}

// Kafka clients are told the address that the box has, once it has one, and again when
// it is another; not when it is gone for a while.
func TestAddress(t *testing.T) {
	other := netip.MustParsePrefix("10.0.0.9/24")
	run(t, func(w *world) {
		w.network = func(ctx context.Context, changed func(netup.State)) {
			for _, step := range []struct {
				wait    time.Duration
				address netip.Prefix
			}{{3 * time.Second, address}, {time.Hour, netip.Prefix{}}, {time.Minute, address}, {time.Hour, other}, {time.Minute, other}} {
				time.Sleep(step.wait)
				changed(netup.State{Address: step.address})
			}
		}
		w.after(4*time.Hour, syscall.SIGTERM)
		Run(w.opts)
		var told []string
		for _, p := range w.children {
			told = append(told, p.variable("HEADWATER_KAFKA_ADVERTISE"))
		}
		if want := []string{"10.0.0.5:9092", "10.0.0.9:9092"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
		if at := w.children[0].at; at != 3*time.Second {
			t.Errorf("started after %v, want once there is an address", at)
		}
	})
	run(t, func(w *world) { // no cable
		w.network = func(context.Context, func(netup.State)) {}
		w.after(time.Hour, syscall.SIGTERM)
		Run(w.opts)
		if len(w.children) != 1 || w.children[0].at != addressLimit || w.children[0].variable("HEADWATER_KAFKA_ADVERTISE") != "" {
			t.Errorf("%d starts, the first after %v", len(w.children), w.children[0].at)
		}
	})
	run(t, func(w *world) { // the settings say it, so nothing is waited for
		w.network = func(context.Context, func(netup.State)) {}
		w.opts.Settings = func(string, []string) (Serve, error) { return Serve{Kafka: "0.0.0.0:9092", Advertise: "box:1"}, nil }
		w.after(time.Hour, syscall.SIGTERM)
		Run(w.opts)
		if w.children[0].at > time.Second {
			t.Errorf("started after %v", w.children[0].at)
		}
	})
}

// A clock that starts in 1970 does not stay there.
func TestClock(t *testing.T) {
	run(t, func(w *world) {
		if err := clock.Save(w.opts.places.state, w.started.Add(-time.Minute)); err != nil {
			t.Fatal(err)
		}
		w.offset = time.Until(time.Unix(0, 0))
		w.after(time.Minute, syscall.SIGTERM)
		Run(w.opts)
		if w.offset.Round(time.Second) != -time.Minute || w.count("set clock") != 2 {
			t.Errorf("off by %v, set %d times", w.offset, w.count("set clock"))
		}
	})
}
