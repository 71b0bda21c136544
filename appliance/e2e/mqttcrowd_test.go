package e2e

import (
	"context"
	"fmt"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// mqttCrowd is of devices that publish by MQTT 3.1.1, those with a number of one digit at
// another QoS, 1 or 2, than the others. What has no PUBACK or PUBCOMP when the connection
// is lost they publish anew, as a device does that kept its readings and not its session:
// so a message may be there more than once.
func mqttCrowd(address, topic string, devices, window int, deaf func() bool) *crowd {
	c := newCrowd(topic, devices)
	c.check.repeats = true
	c.publish = func(ctx context.Context, d *outbox, next func() (posting, bool)) error {
		o := mqtt.NewClientOptions().AddBroker("tcp://" + address).SetClientID(d.name).SetProtocolVersion(4).
			SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false).
			SetWriteTimeout(time.Second) // else a publish into a lost connection may wait for half a minute
		client := mqtt.NewClient(o)
		if err := settled(ctx, client.Connect()); err != nil {
			return fmt.Errorf("%w: %w", errLost, err)
		}
		defer client.Disconnect(0)
		qos := byte(1 + len(d.name)%2) // names of one digit and of two
		type sent struct {
			number int
			token  mqtt.Token
		}
		var waiting []sent
		oldest := func() error {
			first := waiting[0]
			waiting = waiting[1:]
			if err := settled(ctx, first.token); err != nil {
				return fmt.Errorf("%w: %w", errLost, err)
			}
			if !deaf() {
				d.acked(first.number, nil)
			}
			return nil
		}
		for {
			p, ok := next()
			if !ok {
				break
			}
			if len(waiting) == window {
				if err := oldest(); err != nil {
					return err
				}
			}
			waiting = append(waiting, sent{p.number, client.Publish(topic+"/"+d.name+"/value", qos, false, p.value)})
		}
		for len(waiting) > 0 {
			if err := oldest(); err != nil {
				return err
			}
		}
		return nil
	}
	return c
}

// settled waits for what a token stands for.
func settled(ctx context.Context, token mqtt.Token) error {
	select {
	case <-token.Done():
		return token.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}
