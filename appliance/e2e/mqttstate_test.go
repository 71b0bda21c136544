package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/headwater/headwater/appliance/process"
)

const mqttRounds = 6

// mqttClient connects to p, and leaves when the test ends.
func mqttClient(t *testing.T, p *process.Process, id string, clean bool, take paho.MessageHandler) (c paho.Client, present bool) {
	t.Helper()
	c = paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + p.MQTT).SetClientID(id).SetCleanSession(clean).
		SetAutoReconnect(false).SetDefaultPublishHandler(take))
	token := c.Connect().(*paho.ConnectToken)
	mqttDone(t, token)
	t.Cleanup(func() { c.Disconnect(0) })
	return c, token.SessionPresent()
}

func mqttDone(t *testing.T, token paho.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) {
		t.Fatal("no answer")
	}
	if err := token.Error(); err != nil {
		t.Fatal(err)
	}
}

// heardBy collects what a client hears.
type heardBy struct {
	mu     sync.Mutex
	values []string
	more   chan struct{}
}

func (h *heardBy) take(_ paho.Client, m paho.Message) {
	h.mu.Lock()
	h.values = append(h.values, string(m.Payload()))
	h.mu.Unlock()
	select {
	case h.more <- struct{}{}:
	default:
	}
}

// await waits until all of want were heard, in that order; others may be between.
func (h *heardBy) await(t *testing.T, want []string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		h.mu.Lock()
		next := 0
		for _, value := range h.values {
			if next < len(want) && value == want[next] {
				next++
			}
		}
		count := len(h.values)
		h.mu.Unlock()
		if next == len(want) {
			return
		}
		select {
		case <-h.more:
		case <-deadline:
			t.Fatalf("%d messages heard, and of the %d acked ones those up to %q", count, len(want), want[:next][max(0, next-1):])
		}
	}
}

// Killed again and again under an MQTT device, the box keeps what it has acknowledged:
// the session of a client that is away with all it missed, in order, and retained messages.
func TestKillMQTTSession(t *testing.T) {
	p := start(t)
	away := &heardBy{more: make(chan struct{}, 1)}
	c, _ := mqttClient(t, p, "away", false, away.take)
	mqttDone(t, c.Subscribe("telemetry/#", 1, nil))
	c.Disconnect(100)
	for round := range mqttRounds {
		device, _ := mqttClient(t, p, "device", true, nil)
		status := fmt.Sprintf("round %d", round)
		mqttDone(t, device.Publish("status/press", 1, true, status))
		acked := mqttUntilKilled(t, p, device, round)
		restart(t, p)
		away.mu.Lock()
		away.values = nil
		away.mu.Unlock()
		c, present := mqttClient(t, p, "away", false, away.take)
		if !present {
			t.Fatal("the session is gone")
		}
		away.await(t, acked)
		c.Disconnect(100)
		retained := &heardBy{more: make(chan struct{}, 1)}
		other, _ := mqttClient(t, p, "other", true, retained.take)
		mqttDone(t, other.Subscribe("status/+", 1, nil))
		retained.await(t, []string{status})
		other.Disconnect(0)
	}
}

// mqttUntilKilled publishes one message after another, kills p after some, and returns
// those that were acknowledged.
func mqttUntilKilled(t *testing.T, p *process.Process, device paho.Client, round int) (acked []string) {
	t.Helper()
	enough, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for i := 0; ; i++ {
			value := fmt.Sprintf("%d-%d", round, i)
			token := device.Publish("telemetry/press/temp", 1, false, value)
			if !token.WaitTimeout(patience) || token.Error() != nil || !device.IsConnectionOpen() {
				return
			}
			acked = append(acked, value)
			if i == 20*(round+1) {
				close(enough)
			}
		}
	}()
	wait(t, enough, "acknowledgements")
	kill(t, p)
	wait(t, over, "the device notes that the box is gone")
	return acked
}
