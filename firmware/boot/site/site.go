// Package site reads the site file: what an operator says of one box on its boot
// partition, so that one image serves them all. Pure: it reads bytes, and touches
// nothing; for any goroutine.
//
// Everything that is wrong is told at once, in sentences. A file of which anything is
// wrong is not to be used: half of what an operator meant may be less safe than nothing.
package site

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ErrRefused is wrapped by each sentence on what is wrong.
var ErrRefused = errors.New("site file refused")

// Limits of what a site file may hold.
const (
	MaxBytes   = 1 << 20
	maxFiles   = 64
	maxServers = 8 // of DNS, of NTP
)

// Site is what a site file says.
type Site struct {
	Hostname string
	Network  Network
	NTP      []string          // servers of the time; empty for what the network says
	Settings []byte            // YAML, as headwater serve reads it; empty for none
	Files    map[string]string // by name, such as certificates

	settings *yaml.Node // a mapping, nil for none
}

// Network is how a box joins its network.
type Network struct {
	Interface string // empty: the first one with a cable in it
	DHCP      bool
	Address   netip.Prefix // without DHCP
	Gateway   netip.Addr   // may be invalid: none
	DNS       []netip.Addr // with DHCP: instead of what it says
}

// Default is the site of a box that has no file.
func Default() Site {
	return Site{Hostname: "headwater", Network: Network{DHCP: true}}
}

// document is the file as YAML has it.
type document struct {
	Hostname *string `yaml:"hostname"`
	Network  *struct {
		Interface string   `yaml:"interface"`
		DHCP      *bool    `yaml:"dhcp"`
		Address   string   `yaml:"address"`
		Gateway   string   `yaml:"gateway"`
		DNS       []string `yaml:"dns"`
	} `yaml:"network"`
	NTP      []string          `yaml:"ntp"`
	Settings yaml.Node         `yaml:"settings"`
	Files    map[string]string `yaml:"files"`
}

// Parse reads a site file. An empty one is Default.
func Parse(data []byte) (Site, error) {
	s := Default()
	if len(data) > MaxBytes {
		return s, fmt.Errorf("%w: it is larger than %d bytes", ErrRefused, MaxBytes)
	}
	var doc document
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return s, nil
	} else if err != nil {
		return s, notYAML(err)
	}
	p := problems{}
	if doc.Hostname != nil {
		p.check(isHostname(*doc.Hostname), "hostname: %.80q is no name of a machine; allowed are letters, digits and dashes, such as press-3", *doc.Hostname)
		s.Hostname = *doc.Hostname
	}
	p.network(&s.Network, &doc)
	p.check(len(doc.NTP) <= maxServers, "ntp: %d servers; allowed are %d", len(doc.NTP), maxServers)
	for _, server := range doc.NTP {
		p.check(isHostname(server) || isAddress(server), "ntp: %.80q is neither a name nor an address", server)
	}
	s.NTP = doc.NTP
	p.settings(&s, &doc.Settings)
	p.files(doc.Files)
	s.Files = doc.Files
	return s, errors.Join(p.errs...)
}

// unknownField is how the decoder says that a key is not one of ours.
var unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)

// notYAML makes sentences of what the decoder says.
func notYAML(err error) error {
	texts := []string{strings.TrimPrefix(err.Error(), "yaml: ")}
	if typed := (*yaml.TypeError)(nil); errors.As(err, &typed) {
		texts = typed.Errors
	}
	var errs []error
	for _, text := range texts {
		text = unknownField.ReplaceAllString(text, "$1 is not known here; allowed are hostname, network, ntp, settings and files, and what the template shows below them")
		errs = append(errs, fmt.Errorf("%w: %.400s", ErrRefused, strings.ReplaceAll(text, "\n", " ")))
	}
	return errors.Join(errs...)
}

// problems gathers what is wrong.
type problems struct{ errs []error }

func (p *problems) check(ok bool, format string, args ...any) {
	if !ok {
		p.errs = append(p.errs, fmt.Errorf("%w: "+format, append([]any{ErrRefused}, args...)...))
	}
}

func (p *problems) network(n *Network, doc *document) {
	if doc.Network == nil {
		return
	}
	said := doc.Network
	n.Interface, n.DHCP = said.Interface, said.Address == ""
	p.check(len(n.Interface) < 16 && !strings.ContainsAny(n.Interface, "/ \t\n"), "network.interface: %.40q is no name of an interface, such as eth0", n.Interface)
	if said.DHCP != nil {
		p.check(!*said.DHCP || said.Address == "", "network.dhcp: true, and there is an address; allowed is one of the two")
		p.check(*said.DHCP || said.Address != "", "network.address: is needed without DHCP, such as 192.168.1.20/24")
		n.DHCP = *said.DHCP
	}
	var err error
	if said.Address != "" {
		n.Address, err = netip.ParsePrefix(said.Address)
		p.check(err == nil, "network.address: %.60q is no address with the length of its network, such as 192.168.1.20/24", said.Address)
	}
	if said.Gateway != "" {
		n.Gateway, err = netip.ParseAddr(said.Gateway)
		p.check(err == nil, "network.gateway: %.60q is no address", said.Gateway)
		p.check(!n.DHCP, "network.gateway: goes with network.address alone; DHCP tells its own")
		p.check(err != nil || !n.Address.IsValid() || n.Address.Contains(n.Gateway), "network.gateway: %s is not in the network of %s", n.Gateway, n.Address)
	}
	p.check(len(said.DNS) <= maxServers, "network.dns: %d servers; allowed are %d", len(said.DNS), maxServers)
	for _, text := range said.DNS {
		server, err := netip.ParseAddr(text)
		p.check(err == nil, "network.dns: %.60q is no address", text)
		n.DNS = append(n.DNS, server)
	}
}

func (p *problems) settings(s *Site, node *yaml.Node) {
	if node.Kind == 0 || node.Tag == "!!null" {
		return
	}
	if node.Kind != yaml.MappingNode {
		p.check(false, "settings: holds no settings; wanted are lines such as kafka.listen: 0.0.0.0:9092")
		return
	}
	s.settings = node
	p.check(!s.Sets("data.dir"), "settings: data.dir is the image's own; allowed are all others")
	text, err := yaml.Marshal(node)
	p.check(err == nil, "settings: cannot be read: %v", err)
	s.Settings = text
}

func (p *problems) files(files map[string]string) {
	p.check(len(files) <= maxFiles, "files: %d of them; allowed are %d", len(files), maxFiles)
	for name := range files {
		p.check(fileName.MatchString(name), "files: %.80q is no name of a file; allowed are letters, digits, dots, dashes and underscores", name)
		p.check(name != SettingsFile, "files: %s is what the settings become; allowed is another name", name)
	}
}

// SettingsFile is the name of the file that the settings become, beside the files.
const SettingsFile = "headwater.yaml"

var (
	fileName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$`)
	label    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
)

func isHostname(s string) bool {
	bad := func(part string) bool { return !label.MatchString(part) }
	return len(s) <= 64 && !slices.ContainsFunc(strings.Split(s, "."), bad)
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// Sets reports whether the settings say something of the one called name, such as
// kafka.listen, however they write it.
func (s *Site) Sets(name string) bool { return s.settings != nil && sets(s.settings, name) }

// sets goes down only where name goes on, so its depth is that of name.
func sets(node *yaml.Node, name string) bool {
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i].Value, node.Content[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		rest, below := strings.CutPrefix(name, key+".")
		if key == name || below && value.Kind == yaml.MappingNode && sets(value, rest) {
			return true
		}
	}
	return false
}

// ForgetSettings makes a site of which only the rest counts.
func (s *Site) ForgetSettings() { s.Settings, s.settings = nil, nil }
