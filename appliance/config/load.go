package config

import (
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/headwater/headwater/bridge/access"
)

// Load returns the settings: the defaults, over them what the YAML file says
// ("" for no file), over that the variables of environ, each "NAME=value", and
// over all the flags that were set; flags may be nil. An empty variable counts
// as not set. The error is of type Problems and holds everything that is wrong;
// a Config that comes with one is not to be used.
func Load(file string, flags *pflag.FlagSet, environ []string) (Config, error) {
	sources := []*layer{fromFile(file), fromEnvironment(environ), fromFlags(flags)}
	var problems Problems
	origins := map[string]string{}
	merged, c := viper.New(), Default()
	for _, k := range keys {
		merged.SetDefault(k.name, k.text(&c))
	}
	for _, l := range sources { // each lies over those before it
		for name, value := range l.values {
			merged.Set(name, value)
		}
		maps.Copy(origins, l.origins)
		problems = append(problems, l.problems...)
	}
	refused := map[string]bool{}
	for _, k := range keys {
		value := merged.GetString(k.name)
		if err := k.parse(&c, value); err != nil {
			refused[k.name] = true
			problems = append(problems, complaints(k.name, origins[k.name], value, err)...)
		}
	}
	for _, p := range c.conflicts() {
		if !refused[p.Key] { // else the default stands there, and the complaint about it would be noise
			p.Origin = origins[p.Key]
			problems = append(problems, p)
		}
	}
	if len(problems) > 0 {
		return c, problems
	}
	return c, nil
}

// complaints makes a sentence of each error that err holds.
func complaints(name, origin, value string, err error) Problems {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return Problems{{name, origin, fmt.Sprintf("%.60q %v", value, err)}}
	}
	var out Problems
	for _, err := range joined.Unwrap() {
		out = append(out, Problem{name, origin, err.Error()})
	}
	return out
}

// orchestrated are the variables that Kubernetes and Docker put into containers
// next to a service of this name; they are no settings.
var orchestrated = regexp.MustCompile(`^HEADWATER_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

func fromEnvironment(environ []string) *layer {
	l := newLayer()
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		variable, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(variable, envPrefix) || value == "" {
			continue
		}
		i := slices.IndexFunc(keys, func(k key) bool { return k.variable() == variable })
		switch {
		case i >= 0:
			l.set(keys[i].name, value, "environment "+variable)
		case orchestrated.MatchString(variable):
		default:
			l.wrong(variable, "environment", "%s", unknownVariable(variable))
		}
	}
	return l
}

func unknownVariable(variable string) string {
	if k, ok := nearest(strings.TrimPrefix(variable, envPrefix)); ok {
		return fmt.Sprintf("is not a setting's variable; did you mean %s?", k.variable())
	}
	return "is not a setting's variable; allowed is " + envPrefix + " and a setting's name, such as HEADWATER_DATA_DIR for data.dir"
}

// Validate reports everything that is wrong with c, as Problems. It writes each
// setting as users do and reads it back, so it allows what Load allows.
func (c Config) Validate() error {
	var problems Problems
	for _, k := range keys {
		var scratch Config
		value := k.text(&c)
		if err := k.parse(&scratch, value); err != nil {
			problems = append(problems, complaints(k.name, "", value, err)...)
		}
	}
	problems = append(problems, c.conflicts()...)
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// payloadRoom is what a record batch may need beside a NATS message that becomes
// its only record: headers of the batch and the record, the key, the subject.
const payloadRoom = 16 << 10

// conflicts reports settings that are allowed alone, and not together.
func (c *Config) conflicts() Problems {
	var out Problems
	check := func(ok bool, name, format string, args ...any) {
		if !ok {
			out = append(out, Problem{Key: name, Text: fmt.Sprintf(format, args...)})
		}
	}
	check(c.Topics.MaxMessageBytes <= c.Topics.SegmentBytes, "topics.maxMessageBytes",
		"%s is more than a segment holds; allowed is up to topics.segmentBytes, %s",
		FormatBytes(c.Topics.MaxMessageBytes), FormatBytes(c.Topics.SegmentBytes))
	check(c.Topics.MaxCompactionLag < 0 || c.Topics.MinCompactionLag <= c.Topics.MaxCompactionLag, "topics.minCompactionLag",
		"%s is more than records may wait; allowed is up to topics.maxCompactionLag, %s",
		FormatDuration(c.Topics.MinCompactionLag), FormatDuration(c.Topics.MaxCompactionLag))
	check(c.NATS.MaxPayload <= c.Topics.MaxMessageBytes-payloadRoom, "nats.maxPayload",
		"%s may not fit a record batch; allowed is up to topics.maxMessageBytes less %s, %s",
		FormatBytes(c.NATS.MaxPayload), FormatBytes(payloadRoom), FormatBytes(max(0, c.Topics.MaxMessageBytes-payloadRoom)))
	check(c.NATS.MaxPending == PendingAuto || c.NATS.MaxPending >= PendingPayloads*c.NATS.MaxPayload, "nats.maxPending",
		"%s does not hold %d messages; allowed is from %d times nats.maxPayload, %s",
		FormatBytes(c.NATS.MaxPending), PendingPayloads, PendingPayloads, FormatBytes(PendingPayloads*c.NATS.MaxPayload))
	check(c.Bridge.Buffer == BufferAuto || c.Bridge.Buffer >= 2*c.Topics.MaxMessageBytes, "bridge.buffer",
		"%s does not hold two record batches; allowed is from twice topics.maxMessageBytes, %s",
		FormatBytes(c.Bridge.Buffer), FormatBytes(2*c.Topics.MaxMessageBytes))
	check(int(c.Kafka.DefaultPartitions) <= c.Kafka.MaxPartitions, "kafka.defaultPartitions",
		"%d is more than all topics may have; allowed is up to kafka.maxPartitions, %d",
		c.Kafka.DefaultPartitions, c.Kafka.MaxPartitions)
	check(int(c.Groups.OffsetsPartitions) <= c.Kafka.MaxPartitions, "groups.offsetsPartitions",
		"%d is more than all topics may have; allowed is up to kafka.maxPartitions, %d",
		c.Groups.OffsetsPartitions, c.Kafka.MaxPartitions)
	check(c.Groups.MinSessionTimeout <= c.Groups.MaxSessionTimeout, "groups.minSessionTimeout",
		"%s leaves no session timeout to ask for; allowed is up to groups.maxSessionTimeout, %s",
		FormatDuration(c.Groups.MinSessionTimeout), FormatDuration(c.Groups.MaxSessionTimeout))
	out = append(out, c.secrecy()...)
	check(!clash(c.NATS.Listen, c.Kafka.Listen), "nats.listen", "%s is the address of kafka.listen; allowed is another one", c.NATS.Listen)
	check(!clash(c.Admin.Listen, c.Kafka.Listen), "admin.listen", "%s is the address of kafka.listen; allowed is another one", c.Admin.Listen)
	check(!clash(c.Admin.Listen, c.NATS.Listen), "admin.listen", "%s is the address of nats.listen; allowed is another one", c.Admin.Listen)
	for _, extra := range []struct{ name, address string }{
		{"nats.websocket.listen", c.NATS.WebSocket.Listen}, {"nats.leafnodes.listen", c.NATS.LeafNodes.Listen},
	} {
		check(extra.address == "" || !clash(extra.address, c.NATS.Listen) && !clash(extra.address, c.Kafka.Listen) && !clash(extra.address, c.Admin.Listen),
			extra.name, "%s is the address of another port; allowed is another one", extra.address)
	}
	check(!clash(c.NATS.LeafNodes.Listen, c.NATS.WebSocket.Listen), "nats.leafnodes.listen", "%s is the address of nats.websocket.listen; allowed is another one", c.NATS.LeafNodes.Listen)
	return out
}

// secrecy reports what would let in, or show to others, more than was meant.
func (c *Config) secrecy() Problems {
	var out Problems
	check := func(ok bool, name, text string) {
		if !ok {
			out = append(out, Problem{Key: name, Text: text})
		}
	}
	tls := c.NATS.TLS
	check((tls.Cert == "") == (tls.Key == ""), "nats.tls.cert", "goes together with nats.tls.key; allowed are both or none")
	check(tls.Cert != "" || tls.ClientCA == "", "nats.tls.clientCa", "needs TLS; allowed is with nats.tls.cert alone")
	check(tls.ClientCA != "" || !tls.Verify, "nats.tls.verify", "needs authorities to hold certificates against; allowed is with nats.tls.clientCa alone")
	ws := c.NATS.WebSocket
	check(ws.Listen == "" || tls.Cert != "" || ws.Insecure || loopback(ws.Listen), "nats.websocket.listen",
		"shows passwords to the network without TLS; allowed is with nats.tls.cert, on a loopback address, or with nats.websocket.insecure")
	check(c.NATS.LeafNodes.Listen == "" || len(c.Users) > 0, "nats.leafnodes.listen",
		"would let every server join; allowed is with users alone")
	needsCA := slices.ContainsFunc(c.Users, func(u access.User) bool { return u.Certificate != "" && u.Password == "" && u.NKey == "" })
	check(!needsCA || tls.ClientCA != "", "users",
		"there is one who can come by certificate alone, and nobody is asked for one; allowed is with nats.tls.clientCa alone")
	return out
}

// loopback reports whether only this machine reaches a listen address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// clash reports whether two listen addresses cannot both be had.
func clash(a, b string) bool {
	_, port, err := net.SplitHostPort(a)
	return err == nil && a == b && port != "0"
}
