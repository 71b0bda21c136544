package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headwater/headwater/firmware/boot/clock"
	"github.com/headwater/headwater/firmware/boot/netup"
	"github.com/headwater/headwater/firmware/boot/site"
)

// Kernel is the Machine that this process runs on.
type Kernel struct {
	signals  chan os.Signal
	children children
}

// NewKernel takes over the signals that PID 1 is sent.
func NewKernel() *Kernel {
	k := &Kernel{signals: make(chan os.Signal, 4)}
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGQUIT)
	signal.Notify(k.signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR2, syscall.SIGPWR)
	return k
}

// Called reports whether the kernel has started this process to bring up the machine:
// it is the first one, nobody told it what to do, and it is on its own, or the kernel's
// command line speaks of a slot. In a container it would be the first one, too.
func Called(args []string) bool {
	if os.Getpid() != 1 || len(args) > 1 {
		return false
	}
	line, err := os.ReadFile("/proc/cmdline")
	if errors.Is(err, os.ErrNotExist) {
		return true // nobody has mounted anything
	}
	_, ok := commandLineValue(string(line), "hw.slot")
	return err == nil && ok
}

// PID implements Machine.
func (k *Kernel) PID() int { return os.Getpid() }

// Signals implements Machine.
func (k *Kernel) Signals() <-chan os.Signal { return k.signals }

// CommandLine implements Machine.
func (k *Kernel) CommandLine() string {
	line, _ := os.ReadFile("/proc/cmdline") // without it nothing is said
	return strings.TrimSpace(string(line))
}

// Mount implements Machine.
func (k *Kernel) Mount(m Mount) error {
	var flags uintptr = unix.MS_NOSUID | unix.MS_NOATIME
	for flag, set := range map[uintptr]bool{
		unix.MS_NODEV: !m.Devices, unix.MS_NOEXEC: !m.Exec, unix.MS_RDONLY: m.ReadOnly, unix.MS_BIND: m.Bind,
	} {
		if set {
			flags |= flag
		}
	}
	err := unix.Mount(m.Source, m.Target, m.Type, flags, m.Options)
	if errors.Is(err, unix.EBUSY) && m.Source == m.Type {
		return nil // the kernel has mounted it itself
	}
	return err
}

// Unmount implements Machine. What cannot be unmounted becomes read-only, which leaves
// a file system as whole.
func (k *Kernel) Unmount(target string) error {
	err := unix.Unmount(target, 0)
	if errors.Is(err, unix.EINVAL) {
		return nil // it is not mounted
	}
	if err != nil {
		readOnly := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		if readOnly == nil {
			return fmt.Errorf("%w; made read-only instead", err)
		}
	}
	return err
}

// Tune implements Machine: a kernel that panics restarts the machine, ctrl-alt-delete
// is asked of us, and many files may be open.
func (k *Kernel) Tune() error {
	var errs []error
	for path, value := range map[string]string{"/proc/sys/kernel/panic": "5", "/proc/sys/kernel/panic_on_oops": "1"} {
		errs = append(errs, os.WriteFile(path, []byte(value), 0))
	}
	errs = append(errs, unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF))
	files := unix.Rlimit{Cur: 64 << 10, Max: 64 << 10}
	errs = append(errs, unix.Setrlimit(unix.RLIMIT_NOFILE, &files))
	return errors.Join(errs...)
}

// Clock implements Machine.
func (k *Kernel) Clock() clock.Machine { return clock.Kernel{} }

// Loopback implements Machine.
func (k *Kernel) Loopback() error { return netup.Loopback() }

// SetHostname implements Machine.
func (k *Kernel) SetHostname(name string) error { return unix.Sethostname([]byte(name)) }

// Network implements Machine.
func (k *Kernel) Network(ctx context.Context, s site.Site, resolv string, log *slog.Logger, changed func(netup.State)) {
	netup.Run(ctx, s, resolv, log, changed)
}

// Memory implements Machine.
func (k *Kernel) Memory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 256 << 20 // the smallest that this is made for
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// KillOthers implements Machine.
func (k *Kernel) KillOthers(grace time.Duration) {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.Kill(-1, sig); errors.Is(err, unix.ESRCH) {
			return // there are none
		}
		k.children.awaitNone(grace)
	}
}

// Sync implements Machine.
func (k *Kernel) Sync() { unix.Sync() }

// Restart implements Machine.
func (k *Kernel) Restart(how Ending) error {
	command := unix.LINUX_REBOOT_CMD_RESTART
	if how == PowerOff {
		command = unix.LINUX_REBOOT_CMD_POWER_OFF
	}
	return fmt.Errorf("%s: %w", how, unix.Reboot(command))
}
