package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/headwater/headwater/appliance/config"
	"github.com/headwater/headwater/bridge/subject"
	"github.com/headwater/headwater/broker/topic"
)

func newRoute() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "route SUBJECT...",
		Short: "Print where messages published on the SUBJECTs would land",
		Long: "Print where a message published on each SUBJECT would land: its topic, key, headers\n" +
			"and partition, and the rule that says so, with what else that says. A dash in place\n" +
			"of subjects reads them from standard input, one a line. The partition is for a topic\n" +
			"with kafka.defaultPartitions partitions. Nothing is published, and no appliance has\n" +
			"to run. Exits with 1 when a subject has no place.",
		Args: cobra.MinimumNArgs(1),
	}
	load := withSettings(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print each as one line of JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := load("")
		if err != nil {
			return err
		}
		table, err := subject.Compile(cfg.Bridge.Rules)
		if err != nil {
			return err
		}
		r := &router{cfg: cfg, table: table, asJSON: *asJSON, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr()}
		if slices.Equal(args, []string{"-"}) {
			return r.lines(cmd.InOrStdin())
		}
		for _, name := range args {
			if err := r.tell(name); err != nil {
				return err
			}
		}
		return r.end()
	}
	return cmd
}

// router tells where subjects lead, one after the other.
type router struct {
	cfg       config.Config
	table     *subject.Table
	asJSON    bool
	out, errs io.Writer
	route     subject.Route
	told      int
	homeless  error // what was said of the last subject that has no place
	homes     int   // subjects that have one
}

// lines tells of each line of in.
func (r *router) lines(in io.Reader) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if lines.Text() == "" {
			continue
		}
		if err := r.tell(lines.Text()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return failure{fmt.Errorf("standard input: %w", err)}
	}
	return r.end()
}

// tell prints where the subject called name leads. What has no place is told at the
// end if it is alone, and beside the others if there are some.
func (r *router) tell(name string) error {
	if r.homeless != nil && r.told == 1 && !r.asJSON {
		fmt.Fprintln(r.errs, r.homeless)
	}
	r.told++
	found, err := r.land(name)
	if err != nil {
		r.homeless = err
		if r.asJSON {
			found = &landing{Subject: name, Rule: -1, Error: err.Error()}
		} else if r.told > 1 {
			fmt.Fprintln(r.errs, err)
		}
	} else {
		r.homes++
	}
	if found == nil {
		return nil
	}
	_, err = r.out.Write(r.text(found))
	return err
}

func (r *router) text(found *landing) []byte {
	if r.asJSON {
		var line bytes.Buffer
		enc := json.NewEncoder(&line)
		enc.SetEscapeHTML(false) // > is common in subjects
		if err := enc.Encode(found); err != nil {
			panic(err) // strings and numbers always have a JSON form
		}
		return line.Bytes()
	}
	text := found.text()
	if r.homes > 1 {
		text = append([]byte("\n"), text...)
	}
	return text
}

// end returns the error for what was told.
func (r *router) end() error {
	homeless := r.told - r.homes
	switch {
	case homeless == 0:
		return nil
	case r.told == 1:
		return failure{r.homeless}
	}
	return failure{fmt.Errorf("%d of %d subjects have no place", homeless, r.told)}
}

// landing is where a message lands.
type landing struct {
	Subject         string      `json:"subject"`
	Rule            int         `json:"rule"` // -1 for none
	Pattern         string      `json:"pattern,omitempty"`
	Topic           string      `json:"topic,omitempty"`
	Key             *string     `json:"key"`
	Headers         []nameValue `json:"headers,omitempty"`
	Partition       int32       `json:"partition"`
	Partitions      int32       `json:"partitions"`
	Missing         bool        `json:"partitionMissing,omitempty"` // a topic of so many partitions does not have it
	Linger          string      `json:"linger,omitempty"`
	Compression     string      `json:"compression,omitempty"`
	MaxMessageBytes int64       `json:"maxMessageBytes,omitempty"`
	Error           string      `json:"error,omitempty"`
}

type nameValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (r *router) land(name string) (*landing, error) {
	switch err := r.table.Route([]byte(name), &r.route); {
	case errors.Is(err, subject.ErrNoRule):
		return nil, fmt.Errorf("no rule takes %s", quoted(name))
	case err != nil:
		return nil, err
	}
	settings := r.table.Settings(r.route.Rule)
	p := &landing{
		Subject:         name,
		Rule:            r.route.Rule,
		Pattern:         r.cfg.Bridge.Rules[r.route.Rule].Subject,
		Topic:           string(r.route.Topic),
		Partitions:      r.cfg.Kafka.DefaultPartitions,
		Linger:          config.FormatDuration(cmp.Or(settings.Linger, subject.DefaultLinger)),
		Compression:     cmp.Or(settings.Compression, "none"),
		MaxMessageBytes: settings.MaxMessageBytes,
	}
	if r.route.Key != nil {
		key := string(r.route.Key)
		p.Key = &key
	}
	for _, h := range r.route.Headers {
		p.Headers = append(p.Headers, nameValue{h.Name, string(h.Value)})
	}
	var exists bool
	p.Partition, exists = r.route.Partition(topic.Partitions{Count: p.Partitions})
	p.Missing = !exists
	return p, nil
}

// text is p for people.
func (p *landing) text() []byte {
	var out bytes.Buffer
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&out, "%-13s"+format+"\n", append([]any{name + ":"}, args...)...)
	}
	line("subject", "%s", quoted(p.Subject))
	line("topic", "%s", p.Topic)
	if p.Key != nil {
		line("key", "%s", quoted(*p.Key))
	} else {
		line("key", "none")
	}
	for _, h := range p.Headers {
		line("header", "%s: %s", h.Name, quoted(h.Value))
	}
	if p.Missing {
		line("partition", "%d, which a topic of %d does not have", p.Partition, p.Partitions)
	} else {
		line("partition", "%d of %d", p.Partition, p.Partitions)
	}
	line("rule", "%d, %s", p.Rule, p.Pattern)
	line("linger", "%s", p.Linger)
	line("compression", "%s", p.Compression)
	if p.MaxMessageBytes > 0 {
		line("largest", "%s", config.FormatBytes(p.MaxMessageBytes))
	}
	return out.Bytes()
}

// quoted puts s in quotes if a terminal would not show it as it is.
func quoted(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` || s == "" {
		return q
	}
	return s
}
