package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/headwater/headwater/firmware/boot/clock"
	"github.com/headwater/headwater/firmware/boot/netup"
	"github.com/headwater/headwater/firmware/boot/site"
	"github.com/headwater/headwater/firmware/layout"
)

// hangs is longer than anything may take.
const hangs = 3 * time.Hour

// machine is a Machine that notes what is done to it. It runs in a synctest bubble.
type machine struct {
	pid     int
	line    string
	signals chan os.Signal
	fail    map[string]error // by the beginning of what is done
	hang    string           // what never returns, by its beginning
	network func(ctx context.Context, changed func(netup.State))
	child   func(p *process) // what a child does once it has been started; it has a goroutine

	started time.Time
	offset  time.Duration // of its clock

	mu       sync.Mutex // guards all below
	done     []string
	children []*process
	pets     []time.Duration // since the start
	disarmed bool
}

func (m *machine) does(format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	m.mu.Lock()
	m.done = append(m.done, what)
	m.mu.Unlock()
	if m.hang != "" && strings.HasPrefix(what, m.hang) {
		time.Sleep(hangs)
	}
	for begin, err := range m.fail {
		if strings.HasPrefix(what, begin) {
			return err
		}
	}
	return nil
}

func (m *machine) PID() int            { return m.pid }
func (m *machine) Tune() error         { return m.does("tune") }
func (m *machine) CommandLine() string { return m.line }
func (m *machine) Mount(mount Mount) error {
	if mount.Bind {
		return m.does("bind %s", mount.Target)
	}
	return m.does("mount %s", mount.Target)
}
func (m *machine) Unmount(target string) error { return m.does("unmount %s", target) }
func (m *machine) Partition(_ context.Context, label string) (string, error) {
	return "/dev/" + label, m.does("find %s", label)
}

func (m *machine) Check(_ context.Context, device string) (bool, error) {
	return false, m.does("check %s", device)
}

func (m *machine) GrowPartition(_, label string) (bool, error) {
	return true, m.does("grow partition %s", label)
}

func (m *machine) GrowFS(mountPoint, _ string) error {
	return m.does("grow file system %s", mountPoint)
}

func (m *machine) Watchdog(time.Duration) (Watchdog, error) { return fakeDog{m}, m.does("watchdog") }

type fakeDog struct{ m *machine }

func (d fakeDog) Timeout() time.Duration { return 20 * time.Second }

func (d fakeDog) Pet() error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.m.pets = append(d.m.pets, time.Since(d.m.started))
	return nil
}

func (d fakeDog) Disarm() error { return d.m.does("disarm") }

func (m *machine) Clock() clock.Machine { return fakeClock{m} }

type fakeClock struct{ m *machine }

func (c fakeClock) Now() time.Time                { return time.Now().Add(c.m.offset) }
func (c fakeClock) Slew(_, _ time.Duration) error { return nil }
func (c fakeClock) Right(time.Duration) error     { return nil }
func (c fakeClock) Set(t time.Time) error {
	c.m.offset = time.Until(t)
	return c.m.does("set clock")
}

func (c fakeClock) Ask(context.Context, string) (clock.Answer, error) {
	return clock.Answer{}, errors.New("no network")
}

func (m *machine) Loopback() error               { return m.does("loopback") }
func (m *machine) SetHostname(name string) error { return m.does("hostname %s", name) }
func (m *machine) Memory() int64                 { return 1000 << 20 }
func (m *machine) Network(ctx context.Context, _ site.Site, _ string, _ *slog.Logger, changed func(netup.State)) {
	m.does("network")
	m.network(ctx, changed)
	<-ctx.Done()
	m.does("network ends")
}

func (m *machine) Signals() <-chan os.Signal { return m.signals }
func (m *machine) KillOthers(time.Duration)  { m.does("kill others") }
func (m *machine) Sync()                     { m.does("sync") }

func (m *machine) Restart(how Ending) error { return m.does("%s", how) }

func (m *machine) Start(c Command) (Process, error) {
	if err := m.does("start %s", strings.Join(c.Args[:1], " ")); err != nil {
		return nil, err
	}
	p := &process{m: m, env: c.Env, output: c.Output, signals: make(chan os.Signal, 8), done: make(chan struct{}), at: time.Since(m.started)}
	m.mu.Lock()
	m.children = append(m.children, p)
	m.mu.Unlock()
	go func() {
		m.child(p)
		m.does("child ended")
		close(p.done)
	}()
	return p, nil
}

// process is a child of a machine.
type process struct {
	m       *machine
	env     []string
	output  io.Writer
	signals chan os.Signal
	done    chan struct{}
	at      time.Duration
}

func (p *process) PID() int              { return 42 }
func (p *process) Done() <-chan struct{} { return p.done }
func (p *process) Status() string        { return "ended with code 3" }
func (p *process) Signal(sig os.Signal) error {
	p.signals <- sig
	return nil
}

// serves runs until it is asked to end, as headwater serve does.
func serves(p *process) {
	fmt.Fprintln(p.output, "level=INFO msg=ready")
	<-p.signals
}

// env is what a child is told by a variable.
func (p *process) variable(name string) string {
	for _, entry := range p.env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// updates is an Update.
type updates struct {
	m        *machine
	onTrial  bool
	caughtUp bool // before
	failed   string
	goodAt   time.Duration
}

func (u *updates) OnTrial() (bool, int, error) { return u.onTrial, 1, u.m.does("on trial?") }
func (u *updates) WasCaughtUp() (bool, error) {
	if err := u.m.does("was caught up?"); err != nil {
		return false, err
	}
	return u.caughtUp, nil
}

func (u *updates) Settle() error { return u.m.does("settle") }
func (u *updates) MarkGood() error {
	u.goodAt = time.Since(u.m.started)
	return u.m.does("mark good")
}

func (u *updates) TrialFailed(why string) error {
	u.failed = why
	return u.m.does("trial failed")
}

// world is a machine with what main hands to Run.
type world struct {
	*machine
	opts    Options
	updates *updates
	health  func() health
	behind  func() string // why it has not caught up; "": it has
	console strings.Builder
}

var address = netip.MustParsePrefix("10.0.0.5/24")

func newWorld(t *testing.T) *world {
	t.Helper()
	m := &machine{
		pid: 1, line: "ro hw.slot=a", signals: make(chan os.Signal, 4), fail: map[string]error{}, child: serves, started: time.Now(),
		network: func(_ context.Context, changed func(netup.State)) {
			changed(netup.State{Interface: "eth0", Address: address})
		},
	}
	w := &world{machine: m, updates: &updates{m: m}, health: func() health { return health{alive: true, ready: true} }, behind: func() string { return "" }}
	dir := t.TempDir()
	w.opts = Options{
		Machine: m, Console: &w.console, Version: "v1", Built: time.Now().Add(-time.Hour),
		Update:   func(*slog.Logger) (Update, error) { return w.updates, nil },
		Settings: func(string, []string) (Serve, error) { return Serve{Admin: "0.0.0.0:8080", Kafka: "0.0.0.0:9092"}, nil },
		places:   places{filepath.Join(dir, "run"), filepath.Join(dir, "boot"), filepath.Join(dir, "state"), filepath.Join(dir, "log")},
		probe:    w.probe,
	}
	w.writeSite(t, "hostname: press-3\n")
	return w
}

// probe is headwater serve's answer.
func (w *world) probe(_ context.Context, _ string, caughtUp bool) health {
	h := w.health()
	if why := w.behind(); caughtUp && h.ready && why != "" {
		return health{alive: true, why: why}
	}
	return h
}

func (w *world) writeSite(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join(w.opts.places.boot, layout.SitePath)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// after sends a signal later.
func (w *world) after(d time.Duration, sig syscall.Signal) {
	time.AfterFunc(d, func() { w.signals <- sig })
}

// count is how often something was done.
func (w *world) count(what string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, done := range w.done {
		if strings.HasPrefix(done, what) {
			n++
		}
	}
	return n
}

// inOrder reports whether those were done one after another.
func (w *world) inOrder(t *testing.T, wanted ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := w.done
	for _, want := range wanted {
		i := slices.Index(rest, want)
		if i < 0 {
			t.Fatalf("%q was not done when it should be; done was\n%s", want, strings.Join(w.done, "\n"))
		}
		rest = rest[i+1:]
	}
}
