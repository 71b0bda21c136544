package mqtt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// secure lets everybody in who comes by TLS.
type secure struct{}

func (secure) Login(_ string, _ []byte, state *tls.ConnectionState) (Identity, error) {
	if state == nil || !state.HandshakeComplete {
		return nil, errors.New("not by TLS")
	}
	return one{"press3"}, nil
}

// By TLS the same holds: who is there is known, and a long first packet is refused.
func TestTLS(t *testing.T) {
	s, _ := start(t, Config{TLS: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}, Access: secure{}})
	raw, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	c := &client{t: t, conn: raw, r: newReader(raw), version: 5}
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}}
	pk.Connect = packets.ConnectParams{ProtocolName: []byte("MQTT"), Clean: true, Keepalive: 60, ClientIdentifier: "c"}
	c.send(pk)
	if ack := c.receive(); ack.FixedHeader.Type != packets.Connack || ack.ReasonCode != 0 {
		t.Fatalf("%s %#x", packets.PacketNames[ack.FixedHeader.Type], ack.ReasonCode)
	}
	c.publish("telemetry/press3/temp", "1", 1, 1)
	c.wants(packets.Puback, 1)

	long, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer long.Close()
	if _, err := long.Write([]byte("\x10\xff\xff\x1f")); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	(&client{t: t, conn: long, r: newReader(long)}).ended()
	if took := time.Since(begin); took > connectTimeout/2 {
		t.Errorf("the connection stayed open for %v", took)
	}
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
