// Command neverready is headwater with a broker that is none, for tests of updates that
// go bad: its first process is headwater's own. On the first try of a slot its serve
// ends at once, again and again; on every later one it stays, and listens on nothing.
package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/headwater/headwater/firmware/boot"
	"github.com/headwater/headwater/firmware/layout"
	"github.com/headwater/headwater/firmware/update"
)

func main() {
	if !boot.Called(os.Args) {
		os.Exit(serve())
	}
	panic(boot.Run(boot.Options{
		Machine: boot.NewKernel(), Console: os.Stderr, Version: "neverready", Built: time.Unix(0, 0),
		Update: updates,
		Settings: func(string, []string) (boot.Serve, error) {
			return boot.Serve{Admin: "127.0.0.1:8080"}, nil
		},
	}))
}

// settled fits a box to what PID 1 asks of it.
type settled struct{ *update.Box }

func (s settled) Settle() error {
	_, err := s.Box.Settle()
	return err
}

func updates(log *slog.Logger) (boot.Update, error) {
	box, err := update.Here("neverready", log)
	if err != nil {
		return nil, err
	}
	return settled{box}, nil
}

// serve is what headwater serve becomes. It returns the exit code.
func serve() int {
	if firstTry() {
		fmt.Fprintln(os.Stderr, "neverready ends")
		return 1
	}
	fmt.Fprintln(os.Stderr, "neverready stays, and listens on nothing")
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	<-asked
	return 0
}

// firstTry reads from the boot entries whether a slot was tried once.
func firstTry() bool {
	entries, err := os.ReadDir(layout.BootMount + "/" + layout.EntriesDir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	for _, e := range entries {
		if entry, ours := layout.ParseEntry(e.Name()); ours && entry.Counted && entry.Done == 1 {
			return true
		}
	}
	return false
}
