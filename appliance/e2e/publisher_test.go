package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
)

// publisher publishes on NATS with several messages in flight, and collects the
// answers. Messages are told apart by numbers that are the caller's.
type publisher struct {
	address   string
	window    int                          // how many may wait for their answers
	onAck     func(ack)                    // may be nil; called from the connection's goroutine
	onRefusal func(number int, why string) // as onAck

	mu      sync.Mutex // guards all below
	acked   map[int]ack
	refused map[int]string // what the answer said instead
}

// ack is the answer to a message that is stored.
type ack struct {
	number int // the message's
	place
}

func newPublisher(address string, window int) *publisher {
	return &publisher{address: address, window: window, acked: map[int]ack{}, refused: map[int]string{}}
}

// message is one to publish.
type message struct {
	number         int
	subject, value string
	header         nats.Header
	wantAck        bool
}

// errLost says that the connection was lost, as it is when the process is killed.
var errLost = errors.New("connection lost")

// publish connects, publishes what next returns until it returns false, and waits
// for the answers. When the connection is lost it returns errLost, and leaves
// what was not answered to the caller.
func (p *publisher) publish(ctx context.Context, next func() (message, bool)) error {
	ctx, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	nc, err := nats.Connect("nats://"+p.address, nats.NoReconnect(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // the default one prints
		nats.ClosedHandler(func(*nats.Conn) { lost(errLost) }))
	if err != nil {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	defer nc.Close()
	slots := make(chan struct{}, p.window)
	inbox := nats.NewInbox()
	// A channel, since a subscription with a callback forgets what it has not yet
	// delivered when the connection is lost.
	answers := make(chan *nats.Msg, p.window)
	if _, err := nc.ChanSubscribe(inbox+".*", answers); err != nil {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	var taking sync.WaitGroup
	defer taking.Wait()
	defer lost(nil)
	taking.Go(func() { p.takeAll(ctx, answers, slots) })
	acquire := func() error {
		select {
		case slots <- struct{}{}:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for m, ok := next(); ok; m, ok = next() {
		msg := &nats.Msg{Subject: m.subject, Data: []byte(m.value), Header: m.header}
		if m.wantAck {
			if err := acquire(); err != nil {
				return err
			}
			msg.Reply = inbox + "." + strconv.Itoa(m.number)
		}
		if err := nc.PublishMsg(msg); err != nil {
			return fmt.Errorf("%w: %w", errLost, err)
		}
	}
	for range p.window { // all answers are there when every slot is free
		if err := acquire(); err != nil {
			return err
		}
	}
	return nc.FlushWithContext(ctx)
}

// takeAll keeps answers until ctx is done and none is left, and frees a slot for
// each.
func (p *publisher) takeAll(ctx context.Context, answers <-chan *nats.Msg, slots <-chan struct{}) {
	for {
		select {
		case m := <-answers:
			p.take(m)
			<-slots
			continue
		default:
		}
		select {
		case m := <-answers:
			p.take(m)
			<-slots
		case <-ctx.Done():
			if len(answers) == 0 {
				return
			}
		}
	}
}

// take keeps an answer.
func (p *publisher) take(m *nats.Msg) {
	number, err := strconv.Atoi(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:])
	if err != nil {
		panic(err) // we made the subject
	}
	var answer struct {
		Stream    string
		Seq       uint64
		Partition *int32
		Offset    *int64
		Error     *struct {
			Code        int
			Description string
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	refuse := func(why string) {
		p.refused[number] = why
		if p.onRefusal != nil {
			p.onRefusal(number, why)
		}
	}
	err = json.Unmarshal(m.Data, &answer)
	switch {
	case m.Header.Get("Status") != "":
		refuse(m.Header.Get("Status") + ", by the server")
	case err != nil:
		refuse(fmt.Sprintf("not JSON: %q", m.Data))
	case answer.Error != nil:
		refuse(fmt.Sprintf("%d %s", answer.Error.Code, answer.Error.Description))
	case answer.Partition == nil || answer.Offset == nil || answer.Stream == "" || answer.Seq != uint64(*answer.Offset+1):
		refuse(fmt.Sprintf("no PubAck with a place: %s", m.Data))
	default:
		a := ack{number, place{*answer.Partition, *answer.Offset}}
		p.acked[number] = a
		if p.onAck != nil {
			p.onAck(a)
		}
	}
}

// answers returns copies of what was answered so far.
func (p *publisher) answers() (acked map[int]ack, refused map[int]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	acked, refused = map[int]ack{}, map[int]string{}
	for n, a := range p.acked {
		acked[n] = a
	}
	for n, r := range p.refused {
		refused[n] = r
	}
	return acked, refused
}

// noRefusals fails the test if an answer was anything but an ack.
func (p *publisher) noRefusals(t *testing.T) {
	t.Helper()
	_, refused := p.answers()
	for number, why := range refused {
		t.Errorf("message %d was refused: %s", number, why)
		if t.Failed() && number > 20 {
			return
		}
	}
}
