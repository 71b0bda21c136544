// Command hangs is a first process that arms the machine's watchdog, as headwater's own
// does, and then does nothing, for tests of updates that go bad.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/headwater/headwater/firmware/boot"
)

func main() {
	k := boot.NewKernel()
	if err := k.Mount(boot.Mount{Source: "devtmpfs", Target: "/dev", Type: "devtmpfs", Devices: true}); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if dog, err := k.Watchdog(10 * time.Second); err != nil {
		fmt.Fprintln(os.Stderr, "no watchdog:", err)
	} else {
		fmt.Fprintln(os.Stderr, "it hangs, and the watchdog has", dog.Timeout())
	}
	for {
		time.Sleep(time.Hour)
	}
}
