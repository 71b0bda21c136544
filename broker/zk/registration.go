package zk

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/headwater/headwater/broker/cluster"
)

// registrationJSON is /brokers/ids/<id>, version 5. Host and port repeat the first
// endpoint without encryption and login, for clients of long ago.
type registrationJSON struct {
	Version   int32             `json:"version"`
	Host      *string           `json:"host"`
	Port      int32             `json:"port"`
	Endpoints []string          `json:"endpoints"`
	Protocols map[string]string `json:"listener_security_protocol_map"`
	JMXPort   int32             `json:"jmx_port"`
	Timestamp string            `json:"timestamp"` // Unix milliseconds
	Rack      *string           `json:"rack,omitempty"`
	Features  json.RawMessage   `json:"features,omitempty"`
}

const plaintext = "PLAINTEXT"

func encodeRegistration(r cluster.Registration, now time.Time) []byte {
	j := registrationJSON{
		Version: 5, Port: -1, JMXPort: -1,
		Endpoints: []string{}, Protocols: map[string]string{},
		Timestamp: millis(now), Features: json.RawMessage("{}"),
	}
	for _, e := range r.Endpoints {
		j.Endpoints = append(j.Endpoints, e.Listener+"://"+net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))))
		j.Protocols[e.Listener] = e.Protocol
		if e.Protocol == plaintext && j.Host == nil {
			j.Host, j.Port = &e.Host, e.Port
		}
	}
	if r.Rack != "" {
		j.Rack = &r.Rack
	}
	return encode(j)
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

// decodeRegistration reads versions 1 to 5: the first two have a host and a port
// alone, the third no names of listeners.
func decodeRegistration(path string, id int32, n node) (cluster.Registration, error) {
	var j registrationJSON
	if err := decode(path, n.data, &j); err != nil {
		return cluster.Registration{}, err
	}
	r := cluster.Registration{ID: id, Epoch: n.epoch}
	if j.Rack != nil {
		r.Rack = *j.Rack
	}
	if j.Version < 1 {
		return cluster.Registration{}, malformed(path, fmt.Sprintf("version %d", j.Version))
	}
	if j.Version < 3 {
		if j.Host == nil || !isPort(j.Port) {
			return cluster.Registration{}, malformed(path, "no host and port")
		}
		r.Endpoints = []cluster.Endpoint{{Listener: plaintext, Protocol: plaintext, Host: *j.Host, Port: j.Port}}
		return r, nil
	}
	for _, text := range j.Endpoints {
		e, err := parseEndpoint(text)
		if err != nil {
			return cluster.Registration{}, malformed(path, err)
		}
		e.Protocol = e.Listener
		if protocol, ok := j.Protocols[e.Listener]; ok {
			e.Protocol = protocol
		}
		r.Endpoints = append(r.Endpoints, e)
	}
	return r, nil
}

// parseEndpoint reads NAME://host:port.
func parseEndpoint(text string) (cluster.Endpoint, error) {
	name, address, ok := strings.Cut(text, "://")
	if !ok || name == "" {
		return cluster.Endpoint{}, fmt.Errorf("endpoint %q has no listener", text)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return cluster.Endpoint{}, fmt.Errorf("endpoint %q: %w", text, err)
	}
	n, err := strconv.ParseInt(port, 10, 32)
	if err != nil || !isPort(int32(n)) {
		return cluster.Endpoint{}, fmt.Errorf("endpoint %q: port %q", text, port)
	}
	return cluster.Endpoint{Listener: name, Host: host, Port: int32(n)}, nil
}

func isPort(n int32) bool { return n > 0 && n <= 0xffff }
