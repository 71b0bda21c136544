// Command mkimage builds a firmware image from the arm64 binary and what others made:
// `make firmware` runs it. This package owns its flags, fetches the parts that no flag
// names, and says what it does; firmware/image knows how an image is made.
//
// It exits with 0 when the image is there, 1 when something failed, 2 when it was
// called wrongly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const (
	exitFailed = 1
	exitUsage  = 2
)

// errUsage is a call that cannot be meant.
var errUsage = errors.New("mkimage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	o, err := readOptions(os.Args[1:])
	if err == nil {
		err = build(ctx, o)
	}
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitUsage)
	default:
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(exitFailed)
	}
}
