//go:build interop

package devices

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/headwater/headwater/appliance/process"
)

// mosquittoArgs begins a command of mosquitto's tools.
func mosquittoArgs(t *testing.T, tool string, p *process.Process, version string, args ...string) []string {
	t.Helper()
	host, port, ok := strings.Cut(p.MQTT, ":")
	if !ok {
		t.Fatalf("address %s", p.MQTT)
	}
	return append([]string{tool, "-h", host, "-p", port, "-V", version}, args...)
}

// mosquitto_pub sends lines at every level, in both versions of the protocol, and
// mosquitto_sub hears them; they are in the log.
func TestMosquitto(t *testing.T) {
	p := start(t)
	for _, version := range []string{"311", "5"} {
		for qos := range 3 {
			t.Run(fmt.Sprintf("%s/QoS%d", version, qos), func(t *testing.T) {
				device := fmt.Sprintf("m%s-%d", version, qos)
				var lines strings.Builder
				for i := range 100 {
					fmt.Fprintln(&lines, i)
				}
				command(t, lines.String(), mosquittoArgs(t, "mosquitto_pub", p, version, "-t", "telemetry/"+device+"/temp", "-q", fmt.Sprint(qos), "-l")...)
				records := ofDevice(awaitDevice(t, p, device, 100), device)
				if len(records) != 100 {
					t.Fatalf("%d records", len(records))
				}
				for i, r := range records {
					if string(r.Value) != fmt.Sprint(i) {
						t.Fatalf("record %d is %q", i, r.Value)
					}
				}
			})
		}
	}
}

// A session of mosquitto_sub that lasts gets what it missed, also over a restart.
func TestMosquittoSession(t *testing.T) {
	p := start(t)
	listen := func(args ...string) []string {
		return mosquittoArgs(t, "mosquitto_sub", p, "311", append([]string{"-i", "press4", "-c", "-q", "1", "-t", "commands/press4/+"}, args...)...)
	}
	command(t, "", listen("-E")...) // leaves once it has subscribed
	command(t, "", mosquittoArgs(t, "mosquitto_pub", p, "311", "-t", "commands/press4/speed", "-q", "1", "-m", "10")...)
	restart(t, p)
	command(t, "", mosquittoArgs(t, "mosquitto_pub", p, "5", "-t", "commands/press4/speed", "-q", "2", "-m", "20")...)
	if got := command(t, "", listen("-C", "2")...); got != "10\n20\n" {
		t.Errorf("it got %q", got)
	}
}

// Devices do as README says: mosquitto_sub with a session that lasts subscribes again at
// each start, gets what waits for it, and listens on. It numbers its subscription as that
// message is numbered.
func TestMosquittoSessionListensOn(t *testing.T) {
	p := start(t)
	for _, version := range []string{"311", "5"} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/restarted=%v", version, restarted), func(t *testing.T) {
				device := fmt.Sprintf("m%s-%v", version, restarted)
				send := func(value string) {
					t.Helper()
					command(t, "", mosquittoArgs(t, "mosquitto_pub", p, version, "-t", "commands/"+device, "-q", "1", "-m", value)...)
				}
				listen := func(args ...string) []string {
					return mosquittoArgs(t, "mosquitto_sub", p, version, append([]string{"-t", "commands/" + device, "-q", "1", "-i", device, "-c"}, args...)...)
				}
				command(t, "", listen("-E")...) // leaves once it has subscribed
				send("start")
				if restarted {
					restart(t, p)
				}
				said := follow(t, listen("-C", "2")...)
				if got := <-said; got != "start" {
					t.Fatalf("it says %q", got)
				}
				send("stop")
				if got := <-said; got != "stop" {
					t.Fatalf("it says %q", got)
				}
				if got, more := <-said; more {
					t.Errorf("it says %q besides", got)
				}
			})
		}
	}
}

// follow runs a program, and returns the lines that it writes to both of its outputs. It
// is killed when the test ends.
func follow(t *testing.T, args ...string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		cmd.Stderr = cmd.Stdout
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	said := make(chan string, 10)
	go func() {
		defer close(said)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			said <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		cancel()
		for range said {
		}
		cmd.Wait() // it may have been killed, which is an error
	})
	return said
}

// What is retained comes to who subscribes later.
func TestMosquittoRetained(t *testing.T) {
	p := start(t)
	command(t, "", mosquittoArgs(t, "mosquitto_pub", p, "311", "-t", "state/press4", "-q", "1", "-r", "-m", "on")...)
	if got := command(t, "", mosquittoArgs(t, "mosquitto_sub", p, "311", "-t", "state/#", "-C", "1")...); got != "on\n" {
		t.Errorf("it got %q", got)
	}
}
