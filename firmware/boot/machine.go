package boot

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/headwater/headwater/firmware/boot/clock"
	"github.com/headwater/headwater/firmware/boot/netup"
	"github.com/headwater/headwater/firmware/boot/site"
)

// Machine is all that PID 1 does to the machine it runs on. Its methods are called
// from one goroutine, but for those of what it returns.
type Machine interface {
	PID() int
	Mount(m Mount) error // what is there already stays, and is no error
	Unmount(target string) error
	Tune() error         // how the kernel reacts to what goes wrong
	CommandLine() string // the kernel's

	Partition(ctx context.Context, label string) (device string, err error) // of the disk that the root is on
	Check(ctx context.Context, device string) (repaired bool, err error)    // its file system, which is not mounted
	GrowPartition(device, label string) (grown bool, err error)
	GrowFS(mountPoint, device string) error // to the partition's end

	Watchdog(timeout time.Duration) (Watchdog, error)
	Clock() clock.Machine
	Loopback() error
	SetHostname(name string) error
	Network(ctx context.Context, s site.Site, resolv string, log *slog.Logger, changed func(netup.State)) // until ctx is done
	Memory() int64                                                                                        // bytes that it has

	Signals() <-chan os.Signal
	Start(c Command) (Process, error)
	KillOthers(grace time.Duration) // all processes but this one
	Sync()
	Restart(how Ending) error // does not return when it works
}

// Mount is one line of what is mounted.
type Mount struct {
	Source, Target, Type string
	Options              string // of the file system
	ReadOnly, Exec, Bind bool
	Devices              bool // device files in it count
}

// Command is a process to start, and Process what became of it.
type Command struct {
	Path   string
	Args   []string
	Env    []string
	Output io.Writer // both of its outputs; called from one goroutine
}

// Process is a child. Done is closed when it has ended and its output was read.
type Process interface {
	PID() int
	Signal(sig os.Signal) error
	Done() <-chan struct{}
	Status() string // how it ended, once it has
}

// Watchdog resets the machine when it is not petted.
type Watchdog interface {
	Timeout() time.Duration
	Pet() error
	Disarm() error
}

// Ending is how PID 1 ends.
type Ending string

// The endings.
const (
	Reboot   Ending = "reboot"
	PowerOff Ending = "power off"
)

// Update is what PID 1 has to do with updates: whether what runs is on trial, and what
// came of that.
type Update interface {
	OnTrial() (onTrial bool, left int, err error) // left: starts after this one
	WasCaughtUp() (bool, error)                   // with its region, before the trial; on the data partition
	MarkGood() error
	TrialFailed(why string) error // kept for the version that runs next
	Settle() error                // called once after a start
}

// Serve is what the settings make of headwater serve, as far as PID 1 must know.
type Serve struct {
	Admin     string // host:port it answers on
	Kafka     string // host:port it listens on
	Advertise string // host:port that Kafka clients are told; empty: not said
}
