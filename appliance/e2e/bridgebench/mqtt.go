package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// mqttTimeout is for one exchange with the server.
const mqttTimeout = 30 * time.Second

// mqttPublish has clients publish at QoS 1 for a while, with a window of messages
// each that have no PUBACK yet. All have one in the end, or it is an error.
func mqttPublish(size, clients, inFlight int) func(context.Context, *side, time.Duration) (int, time.Duration, error) {
	return func(_ context.Context, s *side, d time.Duration) (int, time.Duration, error) {
		all := make([]mqtt.Client, clients)
		for i := range all {
			o := mqtt.NewClientOptions().AddBroker("tcp://" + s.mqtt).SetClientID(fmt.Sprint("bench", i)).SetAutoReconnect(false).SetProtocolVersion(4)
			all[i] = mqtt.NewClient(o)
			if err := await(all[i].Connect()); err != nil {
				return 0, 0, err
			}
			defer all[i].Disconnect(0)
		}
		payload := make([]byte, size)
		return together(clients, func(i int, ended *atomic.Bool) (n int, err error) {
			topic := fmt.Sprintf("telemetry/device%d/bench", i)
			pending := make([]mqtt.Token, inFlight)
			for ; !ended.Load(); n++ {
				if oldest := pending[n%inFlight]; oldest != nil {
					if err := await(oldest); err != nil {
						return n, err
					}
				}
				pending[n%inFlight] = all[i].Publish(topic, 1, false, payload)
			}
			for _, t := range pending {
				if t != nil {
					err = errors.Join(err, await(t))
				}
			}
			return n, err
		}, d)
	}
}

func await(t mqtt.Token) error {
	if !t.WaitTimeout(mqttTimeout) {
		return errors.New("no answer")
	}
	return t.Error()
}
