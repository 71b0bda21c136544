package bridge

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/headwater/headwater/bridge/access"
	"github.com/headwater/headwater/bridge/certs"
	"github.com/headwater/headwater/bridge/commands"
	"github.com/headwater/headwater/bridge/mqtt"
	"github.com/headwater/headwater/bridge/natsd"
)

// listenMQTT takes MQTT's port, unless there is to be none.
func (b *Bridge) listenMQTT(users *access.List) (err error) {
	if b.cfg.MQTT == "" {
		return nil
	}
	cfg := mqtt.Config{
		Listen:         b.cfg.MQTT,
		MaxConnections: b.cfg.MaxMQTTConnections,
		MaxPayload:     int(b.cfg.MaxPayload) - headerRoom,
		MaxFilters:     mqttFilters,
	}
	if !users.Empty() {
		cfg.Access = logins{users}
	}
	if !b.cfg.MQTTTLS.None() {
		if b.mqttCerts, err = certs.Load("mqtt", b.cfg.MQTTTLS, b.log, b.reg); err != nil {
			return ofSettings("mqtt", err)
		}
		cfg.TLS = b.mqttCerts.Config()
	}
	if b.mqtt, err = mqtt.Listen(cfg, b.log, b.reg); err != nil {
		return &SettingError{"mqtt", "listen", b.cfg.MQTT, err}
	}
	return nil
}

// mqttFilters is how many patterns NATS is listened to for, for MQTT's subscribers.
const mqttFilters = 1024

// headerRoom is what a message's headers may take on NATS's side, out of its largest
// payload there: an MQTT message must fit with its properties.
const headerRoom = 512

// MQTTAddr is where MQTT devices connect, host:port; "" where they cannot.
func (b *Bridge) MQTTAddr() string {
	if b.mqtt == nil {
		return ""
	}
	return b.mqtt.Addr().String()
}

// logins has the list of users decide on MQTT clients.
type logins struct{ users *access.List }

var errNoProof = errors.New("neither a password nor a certificate")

// Login implements mqtt.Access.
func (l logins) Login(name string, password []byte, state *tls.ConnectionState) (mqtt.Identity, error) {
	if name != "" || len(password) > 0 {
		identity, err := l.users.Password(name, string(password))
		if err != nil {
			return nil, err
		}
		return identity, nil
	}
	if state == nil || len(state.VerifiedChains) == 0 {
		return nil, errNoProof
	}
	identity, err := l.users.Certificate(state.PeerCertificates[0])
	if err != nil {
		return nil, err
	}
	return identity, nil
}

// newCommands makes what carries commands to devices: to NATS's over conn, and to
// MQTT's.
func (b *Bridge) newCommands(broker Broker, conn *natsd.Conn) *commands.Carrier {
	return commands.New(commands.Config{Rules: b.cfg.Commands}, broker, broker, commandSink{conn, b.mqtt}, b.log, b.reg)
}

var errMQTTBusy = errors.New("to MQTT: commands come faster than its subscribers can be told")

// commandSink is a commands.Sink.
type commandSink struct {
	conn *natsd.Conn
	mqtt *mqtt.Server // nil without MQTT
}

// Command implements commands.Sink.
func (s commandSink) Command(subject string, headers, payload []byte) error {
	if s.mqtt != nil && !s.mqtt.Publish([]byte(subject), headers, payload) {
		return errMQTTBusy
	}
	if err := s.conn.PublishMsg([]byte(subject), nil, headers, payload); err != nil {
		return fmt.Errorf("to NATS: %w", err)
	}
	return nil
}
