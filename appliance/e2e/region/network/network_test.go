//go:build interop

package network

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long anything here may take before it counts as not happening.
const patience = 30 * time.Second

// The test's program is also the programs that sit at the seats.
func TestMain(m *testing.M) {
	switch os.Getenv("REGION_NETWORK_PROGRAM") {
	case "echo":
		echo(os.Getenv("REGION_NETWORK_ADDRESS"))
	case "dial":
		dial(os.Getenv("REGION_NETWORK_ADDRESS"))
	default:
		os.Exit(m.Run())
	}
}

// echo sends back every line that it gets, and prints it.
func echo(address string) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("listening")
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			lines := bufio.NewReader(conn)
			for {
				line, err := lines.ReadString('\n')
				if err != nil {
					return
				}
				fmt.Printf("got %.10s\n", strings.TrimSpace(line))
				fmt.Fprint(conn, line)
			}
		}()
	}
}

// dial sends each line of its input to one connection, a new one for each "dial", and
// prints what comes back.
func dial(address string) {
	var conn net.Conn
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if line == "dial\n" {
			if conn, err = net.Dial("tcp", address); err != nil {
				fmt.Println("dial:", err)
				return
			}
			go func(conn net.Conn) {
				back := bufio.NewReader(conn)
				for {
					line, err := back.ReadString('\n')
					if err != nil {
						fmt.Println("ended")
						return
					}
					fmt.Printf("back %.10s\n", strings.TrimSpace(line))
				}
			}(conn)
			continue
		}
		if _, err := io.WriteString(conn, line); err != nil {
			fmt.Println("ended")
		}
	}
}

// program is one that sits at a seat.
type program struct {
	t     *testing.T
	in    io.Writer
	lines chan string
}

func sit(t *testing.T, s *Seat, kind, address string) *program {
	t.Helper()
	words := append(slices.Clone(s.Prefix()), os.Args[0])
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), "REGION_NETWORK_PROGRAM="+kind, "REGION_NETWORK_ADDRESS="+address)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.Started(cmd.Process.Pid)
	p := &program{t: t, in: in, lines: make(chan string, 1000)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(p.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-read
		cmd.Wait()
	})
	return p
}

func (p *program) say(line string) { fmt.Fprintln(p.in, line) }

// hear waits until the program prints line; others are passed over.
func (p *program) hear(line string) {
	p.t.Helper()
	over := time.After(patience)
	for {
		select {
		case got, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("the program ended before it printed %q", line)
			}
			if got == line {
				return
			}
		case <-over:
			p.t.Fatalf("the program does not print %q", line)
		}
	}
}

// heard reports whether the program has printed line by now.
func (p *program) heard(line string) bool {
	for {
		select {
		case got := <-p.lines:
			if got == line {
				return true
			}
		default:
			return false
		}
	}
}

// round sends a line and waits until it is back.
func (p *program) round(line string) {
	p.t.Helper()
	p.say(line)
	p.hear("back " + line)
}

// Each kind of network does what it says: a cut lets nothing through one way and all the
// other way, only between the two, and what it held arrives once it is healed.
func TestNetworks(t *testing.T) {
	for name, make := range map[string]func() (Network, error){
		"best":     New,
		"loopback": func() (Network, error) { return Loopback(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			n, err := make()
			if err != nil {
				t.Fatal(err)
			}
			t.Log(n.Abilities())
			t.Cleanup(func() {
				if err := n.Close(); err != nil {
					t.Error(err)
				}
			})
			a, b, c := join(t, n, "a"), join(t, n, "b"), join(t, n, "c")
			address, err := b.Advertise(7000)
			if err != nil {
				t.Fatal(err)
			}
			server := sit(t, b, "echo", b.Listen(7000))
			server.hear("listening")
			dialA, dialC := sit(t, a, "dial", address), sit(t, c, "dial", address)
			for _, p := range []*program{dialA, dialC} {
				p.say("dial")
				p.round("hello")
			}
			t.Run("cut", func(t *testing.T) { testCut(t, n, a, b, server, dialA, dialC) })
			t.Run("slow", func(t *testing.T) { testSlow(t, n, b, dialA) })
			t.Run("delay", func(t *testing.T) { testDelay(t, n, b, dialA) })
			dialA.say("dial")
			dialA.round("healed")
		})
	}
}

func join(t *testing.T, n Network, name string) *Seat {
	t.Helper()
	s, err := n.Join(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testCut(t *testing.T, n Network, a, b *Seat, server, dialA, dialC *program) {
	do(t, n.Cut(a, b))
	dialA.say("there")
	for i := range 20 {
		dialC.round(fmt.Sprint("other", i))
	}
	if server.heard("got there") {
		t.Error("what was sent through a cut arrived")
	}
	do(t, n.Heal())
	server.hear("got there")
	dialA.hear("back there")

	do(t, n.Cut(b, a))
	dialA.say("oneway")
	server.hear("got oneway")
	for i := range 20 {
		dialC.round(fmt.Sprint("again", i))
	}
	if dialA.heard("back oneway") {
		t.Error("what was answered through a cut arrived")
	}
	do(t, n.Heal())
	dialA.hear("back oneway")
}

func testSlow(t *testing.T, n Network, b *Seat, dialA *program) {
	do(t, n.Slow(b, 500_000))
	start := time.Now()
	dialA.say(strings.Repeat("x", 1_000_000))
	dialA.hear("back xxxxxxxxxx")
	if took := time.Since(start); took < 1500*time.Millisecond {
		t.Errorf("a megabyte there and back at half a megabyte a second took %v", took)
	}
	do(t, n.Heal())
}

func testDelay(t *testing.T, n Network, b *Seat, dialA *program) {
	do(t, n.Delay(b, 100*time.Millisecond))
	dialA.say("dial")
	dialA.round("first")
	start := time.Now()
	dialA.round("second")
	if took := time.Since(start); took < 200*time.Millisecond {
		t.Errorf("there and back with 100 ms each way took %v", took)
	}
	do(t, n.Heal())
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What a dead run left is removed.
func TestSweep(t *testing.T) {
	n, err := Namespaces()
	if err != nil {
		t.Logf("no namespaces here, nothing to sweep: %v", err)
		return
	}
	do(t, n.Close())
	gone := exec.Command("true")
	do(t, gone.Run())
	left := fmt.Sprintf("%s-%d-1-a", mark, gone.Process.Pid)
	do(t, run("", "ip", "netns", "add", left))
	do(t, run("", "ip", "link", "add", "hwrleft", "type", "bridge"))
	do(t, run("", "ip", "link", "set", "hwrleft", "alias", fmt.Sprint(mark, " ", gone.Process.Pid)))
	n, err = Namespaces()
	do(t, err)
	do(t, n.Close())
	names, _ := exec.Command("ip", "netns", "list").Output()
	links, _ := exec.Command("ip", "link").Output()
	if strings.Contains(string(names), left) || strings.Contains(string(links), "hwrleft") {
		t.Errorf("a dead run's is there still:\n%s%s", names, links)
	}
}
