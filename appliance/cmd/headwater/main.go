// Command headwater is the appliance: `headwater serve` runs it, the other
// commands look at its settings. This package owns commands, signals and exit
// codes, and nothing else.
//
// It exits with 0 when all went well; 1 when something failed at run time, or no
// rule takes a subject; 2 when it was called or set up wrongly, which it says in
// one sentence each on standard error; and 128 and the signal's number when a
// second signal asked it to end at once.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/headwater/headwater/appliance/config"
)

// The exit codes.
const (
	exitFailed = 1
	exitSetup  = 2
	exitSignal = 128
)

func main() {
	bringUpMachine()
	ctx, stop := untilSignal()
	err := newRoot().ExecuteContext(ctx)
	stop()
	os.Exit(report(err))
}

// untilSignal returns a context that ends at the first SIGTERM or SIGINT. The
// second ends the process, whatever it does then.
func untilSignal() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() { // lives as long as the process
		<-signals
		cancel()
		second := <-signals
		os.Exit(exitSignal + int(second.(syscall.Signal)))
	}()
	return ctx, cancel
}

// failure is an error that is not the user's doing.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// report writes err to standard error and returns the exit code for it.
func report(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	var failed failure
	var problems config.Problems
	if errors.As(err, &failed) && !errors.As(err, &problems) {
		return exitFailed
	}
	return exitSetup
}
