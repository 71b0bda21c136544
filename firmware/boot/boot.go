// Package boot is PID 1 of a box: it brings the machine up, runs headwater serve as a
// child, keeps it running, and takes the machine down in order. There is no shell and
// nothing else that runs.
//
// It owns the order of things and the limits within which each must happen; the kernel
// stands behind Machine, and what needs no kernel is pure. A box that cannot go on
// restarts; so does one whose PID 1 panics, by the kernel's doing. Run is called once,
// from main, and waits for all it started.
package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/headwater/headwater/firmware/boot/ring"
	"github.com/headwater/headwater/firmware/boot/site"
	"github.com/headwater/headwater/firmware/layout"
)

// ErrNotInit is returned when this process is not the first one: it would take down a
// machine that is somebody else's.
var ErrNotInit = errors.New("only the first process of a machine may bring it up")

// Options are what main knows, and what tests put in place of it.
type Options struct {
	Machine Machine
	Console io.Writer
	Version string
	Built   time.Time
	// Update opens what updates this box, once its boot partition is mounted; nil: there
	// are no trials.
	Update func(log *slog.Logger) (Update, error)
	// Settings reads the file with the settings and the environment as headwater serve
	// does, and tells all that is wrong.
	Settings func(file string, environ []string) (Serve, error)

	places places                                                          // zero: where they are on a box
	probe  func(ctx context.Context, address string, caughtUp bool) health // nil: over the network
}

// places are directories that PID 1 itself reads and writes.
type places struct{ run, boot, state, logs string }

// box is a machine that is up, or on its way up or down.
type box struct {
	Options
	m      Machine
	log    *slog.Logger
	output io.Writer // the console and the ring
	ring   ring.Ring
	guard  guard

	background sync.WaitGroup // network, time, log
	site       site.Site
	siteErr    error // what is wrong with the site file, or the settings in it
	serve      Serve // what the settings say
	mounted    bool  // the data partition
	update     Update
	onTrial    bool

	network *network
}

// Run brings the machine up, supervises headwater serve until a signal or a failure
// ends that, and restarts the machine. It returns only what kept it from that.
func Run(opts Options) error {
	if pid := opts.Machine.PID(); pid != 1 {
		return fmt.Errorf("%w: this is process %d", ErrNotInit, pid)
	}
	b := newBox(opts)
	mountErr := b.mountKernel()
	out := newConsole()
	b.output = io.MultiWriter(out, &b.ring)
	b.log = slog.New(slog.NewTextHandler(b.output, nil))
	b.guard.log = b.log
	done := make(chan struct{})
	var last sync.WaitGroup // what ends last
	last.Go(func() { out.run(opts.Console, done) })
	b.log.Info("headwater starts this machine", "version", opts.Version, "commandLine", b.m.CommandLine())
	if mountErr != nil {
		b.log.Error("not all of the kernel's file systems are there", "err", mountErr)
	}
	b.armWatchdog()
	ctx, stop := context.WithCancel(context.Background())
	last.Go(func() { b.guard.run(ctx) })

	how := b.live()
	b.takeDown(how)
	stop()
	close(done)
	last.Wait()
	return b.m.Restart(how)
}

func newBox(opts Options) *box {
	b := &box{Options: opts, m: opts.Machine, network: newNetwork()}
	if b.places == (places{}) {
		b.places = places{run: runDir, boot: layout.BootMount, state: layout.StateDir, logs: layout.LogDir}
	}
	if b.probe == nil {
		b.probe = probe
	}
	return b
}

func (b *box) mountKernel() error {
	var errs []error
	for _, mount := range kernelMounts {
		if err := b.m.Mount(mount); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", mount.Target, err))
		}
	}
	return errors.Join(append(errs, b.m.Tune())...)
}

// armWatchdog does so unless the command line has hw.watchdog=off, for machines whose
// watchdog resets them when it is armed.
func (b *box) armWatchdog() {
	b.guard.well(stageLimit)
	if value, _ := commandLineValue(b.m.CommandLine(), "hw.watchdog"); value == "off" {
		b.log.Info("watchdog left alone, as the command line says")
		return
	}
	dog, err := b.m.Watchdog(watchdogTimeout)
	if err != nil {
		b.log.Warn("no watchdog: a machine that hangs stays so", "err", err)
		return
	}
	b.guard.dog = dog
	b.log.Info("watchdog armed", "timeout", dog.Timeout())
}

// commandLineValue is what the kernel's command line says of name.
func commandLineValue(line, name string) (value string, ok bool) {
	for word := range strings.FieldsSeq(line) {
		if rest, found := strings.CutPrefix(word, name+"="); found {
			value, ok = rest, true // the last one counts
		}
	}
	return value, ok
}

// live is the machine's life, from the file systems on; it returns how it ends.
func (b *box) live() Ending {
	ctx, cancel := context.WithCancel(context.Background())
	defer b.background.Wait()
	defer cancel()
	how := Reboot
	over := make(chan struct{})
	var signals sync.WaitGroup
	defer signals.Wait()
	defer close(over)
	running, end := context.WithCancel(ctx)
	signals.Go(func() {
		defer end()
		select {
		case sig := <-b.m.Signals():
			how = endingBy(sig)
			b.log.Info("asked to end", "signal", sig, "to", how)
		case <-over:
		}
	})
	err := b.bringUp(ctx)
	if err == nil {
		err = b.supervise(running)
	}
	if err != nil && running.Err() == nil {
		b.failed(running, err)
	}
	return how
}

// endingBy is what a signal asks for. Ctrl-alt-delete is SIGINT.
func endingBy(sig os.Signal) Ending {
	if sig == syscall.SIGUSR2 || sig == syscall.Signal(30) { // SIGPWR
		return PowerOff
	}
	return Reboot
}

// cannotGoOn is how long a box that failed waits before it restarts: somebody may look
// at its console, and its disk may not be worn out.
const cannotGoOn = time.Minute

// failed waits a little before a restart that nobody asked for. A version on trial is
// not waited for: the one before it is good.
func (b *box) failed(ctx context.Context, err error) {
	wait := cannotGoOn
	if b.onTrial {
		wait = 0
		b.try("not noted why the new version is not good", b.update.TrialFailed(err.Error()))
	}
	b.log.Error("restarts the machine", "err", err, "in", wait)
	b.guard.well(wait + stageLimit)
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
}

// openUpdate learns whether the version that runs is on trial.
func (b *box) openUpdate() {
	if b.Update == nil {
		return
	}
	update, err := b.Update(b.log)
	if err != nil {
		b.log.Error("updates are not possible, and this version is taken for good", "err", err)
		return
	}
	var left int
	b.update = update
	b.onTrial, left, err = update.OnTrial()
	b.try("not known whether this version is on trial; taken for good", err)
	if b.onTrial {
		b.log.Info("this version is on trial", "limit", b.trialLimit(), "startsLeft", left)
	}
}

func (b *box) markGood() error {
	err := b.update.MarkGood()
	if err == nil {
		b.onTrial = false
	}
	return err
}

// supervise runs headwater serve until ctx is done or something had better be
// restarted.
func (b *box) supervise(ctx context.Context) error {
	if b.onTrial && b.siteErr != nil {
		return fmt.Errorf("%w: it refuses the site file: %w", ErrTrialFailed, b.siteErr)
	}
	s := &supervisor{
		log: b.log, start: b.startServe, well: b.guard.well,
		probe: func(ctx context.Context, caughtUp bool) health {
			return b.probe(ctx, probeAddress(b.serve.Admin), caughtUp)
		},
		onTrial: b.onTrial, caughtUp: b.onTrial && b.wasCaughtUp(), trialLimit: b.trialLimit(), markGood: b.markGood, changed: b.network.moved,
	}
	b.awaitAddress(ctx)
	return s.run(ctx)
}

// wasCaughtUp is whether the version on trial must catch up with the region to be good.
// Where that cannot be learned it must be ready, and no more.
func (b *box) wasCaughtUp() bool {
	was, err := b.update.WasCaughtUp()
	b.try("not known whether the broker had caught up before; the new version must be ready, and no more", err)
	if was {
		b.log.Info("the broker had caught up before, and must again with this version")
	}
	return was
}

// trialLimit is trialLimit, or what the command line says (hw.trial=90s).
func (b *box) trialLimit() time.Duration {
	value, ok := commandLineValue(b.m.CommandLine(), "hw.trial")
	if limit, err := time.ParseDuration(value); ok && err == nil && limit >= trialSteady && limit <= time.Hour {
		return limit
	}
	return trialLimit
}

// startServe starts headwater serve with what the box knows now.
func (b *box) startServe() (Process, error) {
	told := advertise(b.serve, b.network.start(b.serve))
	return b.m.Start(Command{
		Path: layout.Binary, Args: []string{"serve", "--config", b.settingsFile()},
		Env:    environment(&b.site, b.m.Memory(), told),
		Output: &byLine{to: b.output},
	})
}
