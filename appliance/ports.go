package appliance

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/headwater/headwater/appliance/config"
	"github.com/headwater/headwater/bridge"
)

// ports are the addresses that the appliance answers on, all had before anything
// is written. The bridge holds its own.
type ports struct {
	kafka, admin net.Listener
	bridge       *bridge.Bridge
}

// bind takes all ports or none; listenNATS is how the bridge takes its own. What the
// settings caused is told as config.Problems, with a sentence for each port that cannot
// be had.
func bind(cfg config.Config, listenNATS func() (*bridge.Bridge, error)) (*ports, error) {
	var p ports
	var problems config.Problems
	take := func(key, address string, listen func() error) {
		if err := listen(); err != nil {
			problems = append(problems, config.Problem{Key: key, Text: address + " " + whyNot(err)})
		}
	}
	take("kafka.listen", cfg.Kafka.Listen, func() (err error) {
		p.kafka, err = net.Listen("tcp", cfg.Kafka.Listen)
		return err
	})
	take("admin.listen", cfg.Admin.Listen, func() (err error) {
		p.admin, err = net.Listen("tcp", cfg.Admin.Listen)
		return err
	})
	bridged, err := listenNATS()
	causes := bridge.SettingErrors(err)
	if err != nil && len(causes) == 0 {
		p.close()
		return nil, err
	}
	p.bridge = bridged
	for _, cause := range causes {
		problem := config.Problem{Key: "nats." + cause.Setting, Text: cause.Err.Error()}
		if cause.Address != "" {
			problem.Text = cause.Address + " " + whyNot(cause.Err)
		}
		problems = append(problems, problem)
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
	if p.kafka != nil {
		p.kafka.Close()
	}
	if p.admin != nil {
		p.admin.Close()
	}
	if p.bridge != nil {
		p.bridge.Close()
	}
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
