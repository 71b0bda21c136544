package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"
)

// answerTimeout is for one answer; who gets none has lost a message.
const answerTimeout = 60 * time.Second

// natsDevice publishes with a window of messages that have no answer yet, until end.
func (c Crowd) natsDevice(ctx context.Context, number int, end time.Time, n *counts) error {
	lost := make(chan error, 1)
	nc, err := nats.Connect("nats://"+c.NATS, nats.NoReconnect(), nats.Timeout(answerTimeout), nats.ClosedHandler(func(nc *nats.Conn) {
		lost <- fmt.Errorf("device %d has lost its connection: %w", number, errors.Join(nc.LastError(), nats.ErrConnectionClosed))
	}))
	if err != nil {
		return fmt.Errorf("device %d: %w", number, err)
	}
	defer nc.Close()
	inbox := nats.NewInbox()
	answers := make(chan *nats.Msg, c.Window)
	if _, err := nc.ChanSubscribe(inbox, answers); err != nil {
		return err
	}
	subject, payload := fmt.Sprintf("telemetry.device%d.load", number), make([]byte, c.Payload)
	timeout := time.NewTimer(answerTimeout)
	defer timeout.Stop()
	for open := 0; open > 0 || time.Now().Before(end); {
		for ; open < c.Window && time.Now().Before(end); open++ {
			if err := nc.PublishRequest(subject, inbox, payload); err != nil {
				return fmt.Errorf("device %d: %w", number, err)
			}
		}
		timeout.Reset(answerTimeout)
		select {
		case m := <-answers:
			open--
			n.count(m.Data)
		case err := <-lost:
			return err
		case <-timeout.C:
			return fmt.Errorf("device %d has no answer after %v", number, answerTimeout)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// count takes an answer: JetStream's acknowledgement, or its error.
func (n *counts) count(answer []byte) {
	var ack struct {
		Seq   uint64
		Error *struct{ Description string }
	}
	if err := json.Unmarshal(answer, &ack); err != nil || ack.Error != nil || ack.Seq == 0 {
		n.refused.Add(1)
		return
	}
	n.acked.Add(1)
}

// mqttDevice does the same at QoS 1.
func (c Crowd) mqttDevice(ctx context.Context, number int, end time.Time, n *counts) error {
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + c.MQTT).SetClientID(fmt.Sprint("device", number)).
		SetAutoReconnect(false).SetProtocolVersion(4).SetConnectTimeout(answerTimeout))
	if err := answered(client.Connect()); err != nil {
		return fmt.Errorf("device %d: %w", number, err)
	}
	defer client.Disconnect(0)
	topic, payload := fmt.Sprintf("telemetry/device%d/load", number), make([]byte, c.Payload)
	window := make([]mqtt.Token, c.Window)
	settle := func(i int) error {
		if window[i] == nil {
			return nil
		}
		err := answered(window[i])
		window[i] = nil
		if err != nil {
			return fmt.Errorf("device %d: %w", number, err)
		}
		n.acked.Add(1)
		return nil
	}
	for i := 0; time.Now().Before(end); i = (i + 1) % c.Window {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := settle(i); err != nil {
			return err
		}
		window[i] = client.Publish(topic, 1, false, payload)
	}
	for i := range window {
		if err := settle(i); err != nil {
			return err
		}
	}
	return nil
}

var errNoAnswer = errors.New("no answer")

func answered(t mqtt.Token) error {
	if !t.WaitTimeout(answerTimeout) {
		return errNoAnswer
	}
	return t.Error()
}
