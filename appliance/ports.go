package appliance

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/headwater/headwater/appliance/config"
)

// ports are the addresses that the appliance answers on, all had before anything
// is written. The NATS server binds its own: nats only keeps the address until
// the bridge takes it.
type ports struct {
	kafka, admin, nats net.Listener
}

// bind takes all ports or none. Its error is config.Problems, with a sentence for
// each port that cannot be had.
func bind(cfg config.Config) (*ports, error) {
	var p ports
	var problems config.Problems
	for _, want := range []struct {
		key     string
		address string
		ln      *net.Listener
	}{
		{"kafka.listen", cfg.Kafka.Listen, &p.kafka},
		{"admin.listen", cfg.Admin.Listen, &p.admin},
		{"nats.listen", cfg.NATS.Listen, &p.nats},
	} {
		ln, err := net.Listen("tcp", want.address)
		if err != nil {
			problems = append(problems, config.Problem{Key: want.key, Text: want.address + " " + whyNot(err)})
			continue
		}
		*want.ln = ln
	}
	if len(problems) > 0 {
		p.close()
		return nil, problems
	}
	return &p, nil
}

// whyNot goes on from an address that could not be listened on.
func whyNot(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "is in use by another process; allowed is a free port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "is not an address of this machine; allowed is one of its own"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return "may not be listened on by this user; allowed is a port above 1023"
	}
	if opErr := (*net.OpError)(nil); errors.As(err, &opErr) {
		err = opErr.Err
	}
	return fmt.Sprintf("cannot be listened on: %v", err)
}

func (p *ports) close() {
	for _, ln := range []net.Listener{p.kafka, p.admin, p.nats} {
		if ln != nil {
			ln.Close()
		}
	}
}

// releaseNATS gives the NATS port up and returns its address, for the NATS server
// to bind at once. The host is the one in the settings: a listener on every
// address would tell it as "::".
func (p *ports) releaseNATS(cfg config.NATS) (address string, err error) {
	host, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return "", err
	}
	address = net.JoinHostPort(host, strconv.Itoa(portOf(p.nats)))
	err = p.nats.Close()
	p.nats = nil
	return address, err
}

func portOf(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

// advertised is what Kafka clients are told to dial: what the settings say, or
// the address of ln, or the machine's name when ln takes every address.
func advertised(cfg config.Kafka, ln net.Listener, hostname func() (string, error)) (string, error) {
	switch {
	case cfg.Advertise != "":
		return cfg.Advertise, nil
	case !ln.Addr().(*net.TCPAddr).IP.IsUnspecified():
		return ln.Addr().String(), nil
	}
	name, err := hostname()
	if err != nil {
		return "", config.Problems{{
			Key:  "kafka.advertise",
			Text: "is needed when kafka.listen is every address and the machine has no name; allowed is host:port, such as gateway.local:9092",
		}}
	}
	return net.JoinHostPort(name, strconv.Itoa(portOf(ln))), nil
}
