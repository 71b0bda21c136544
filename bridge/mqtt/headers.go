package mqtt

import (
	"errors"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"
)

var errTooManyFilters = errors.New("there are too many different subscriptions already")

const headerVersion = "NATS/1.0\r\n"

// Headers that stand for properties of MQTT 5 that have a field of their own.
const (
	headerContentType   = "Content-Type"
	headerResponseTopic = "mqtt-response-topic"
	headerCorrelation   = "mqtt-correlation-data"
)

// headersOf makes a NATS header block of a publish's properties, nil when it has none.
// What cannot stand in a line of text is left out.
func headersOf(p *packets.Properties) []byte {
	if len(p.User) == 0 && p.ContentType == "" && p.ResponseTopic == "" && len(p.CorrelationData) == 0 {
		return nil
	}
	block := []byte(headerVersion)
	add := func(name, value string) {
		if value != "" && validName(name) && validValue(value) {
			block = append(append(append(append(block, name...), ": "...), value...), "\r\n"...)
		}
	}
	for _, u := range p.User {
		add(u.Key, u.Val)
	}
	add(headerContentType, p.ContentType)
	add(headerResponseTopic, p.ResponseTopic)
	add(headerCorrelation, string(p.CorrelationData))
	if len(block) == len(headerVersion) {
		return nil
	}
	return append(block, "\r\n"...)
}

func validName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' })
}

func validValue(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// propertiesOf makes user properties of a NATS header block.
func propertiesOf(block []byte) []packets.UserProperty {
	_, lines, ok := strings.Cut(string(block), "\r\n")
	if !ok {
		return nil
	}
	var all []packets.UserProperty
	for line := range strings.SplitSeq(lines, "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && len(all) < maxProperties {
			all = append(all, packets.UserProperty{Key: name, Val: strings.TrimLeft(value, " \t")})
		}
	}
	return all
}

const maxProperties = 256 // of one message
