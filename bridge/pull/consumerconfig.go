package pull

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// consumerConfig is a consumer's configuration, as clients write it. Durations are in
// nanoseconds.
type consumerConfig struct {
	Durable           string            `json:"durable_name,omitempty"`
	Name              string            `json:"name,omitempty"`
	Description       string            `json:"description,omitempty"`
	DeliverPolicy     string            `json:"deliver_policy"`
	OptStartSeq       uint64            `json:"opt_start_seq,omitempty"`
	OptStartTime      *time.Time        `json:"opt_start_time,omitempty"`
	AckPolicy         string            `json:"ack_policy"`
	AckWait           time.Duration     `json:"ack_wait,omitempty"`
	MaxDeliver        int               `json:"max_deliver,omitempty"` // -1: no limit
	BackOff           []time.Duration   `json:"backoff,omitempty"`
	FilterSubject     string            `json:"filter_subject,omitempty"`
	FilterSubjects    []string          `json:"filter_subjects,omitempty"`
	ReplayPolicy      string            `json:"replay_policy"`
	RateLimit         uint64            `json:"rate_limit_bps,omitempty"`
	SampleFrequency   string            `json:"sample_freq,omitempty"`
	MaxWaiting        int               `json:"max_waiting,omitempty"`
	MaxAckPending     int               `json:"max_ack_pending,omitempty"`
	FlowControl       bool              `json:"flow_control,omitempty"`
	HeadersOnly       bool              `json:"headers_only,omitempty"`
	MaxBatch          int               `json:"max_batch,omitempty"`
	MaxExpires        time.Duration     `json:"max_expires,omitempty"`
	MaxBytes          int               `json:"max_bytes,omitempty"`
	DeliverSubject    string            `json:"deliver_subject,omitempty"`
	DeliverGroup      string            `json:"deliver_group,omitempty"`
	Heartbeat         time.Duration     `json:"idle_heartbeat,omitempty"`
	InactiveThreshold time.Duration     `json:"inactive_threshold,omitempty"`
	Replicas          int               `json:"num_replicas"`
	MemoryStorage     bool              `json:"mem_storage,omitempty"`
	Direct            bool              `json:"direct,omitempty"`
	Sourcing          bool              `json:"sourcing,omitempty"`
	Metadata          map[string]string `json:"metadata,omitempty"`
	PauseUntil        *time.Time        `json:"pause_until,omitempty"`
	PriorityGroups    []string          `json:"priority_groups,omitempty"`
	PriorityPolicy    string            `json:"priority_policy,omitempty"`
	PinnedTTL         time.Duration     `json:"priority_timeout,omitempty"`
}

// Deliver policies, by JetStream's names: where a new consumer begins.
const (
	deliverAll     = "all"
	deliverLast    = "last"
	deliverNew     = "new"
	deliverFromSeq = "by_start_sequence"
	deliverFrom    = "by_start_time"
	deliverLastPer = "last_per_subject"
)

// What stands for what a client leaves open, as in JetStream.
const (
	defaultAckWait    = 30 * time.Second
	defaultInactive   = 5 * time.Second // for a consumer that is not durable
	defaultAckPending = 1000
	defaultMaxWaiting = 512
	longestWait       = 365 * 24 * time.Hour // longer ones are no different
	maxFilters        = 64
	maxBackoffs       = 64
	maxConsumerName   = 128
	maxConfigBytes    = 8 << 10
)

// Errors about consumers, by JetStream's numbers.
var (
	errNoConsumer        = &apiError{Code: 404, ErrCode: 10014, Description: "consumer not found"}
	errConsumerExists    = &apiError{Code: 400, ErrCode: 10148, Description: "consumer already exists"}
	errConsumerNotThere  = &apiError{Code: 400, ErrCode: 10149, Description: "consumer does not exist"}
	errConsumerCreate    = &apiError{Code: 400, ErrCode: 10012, Description: "consumer cannot be made"}
	errMaxConsumers      = &apiError{Code: 400, ErrCode: 10026, Description: "maximum consumers limit reached"}
	errConsumerName      = &apiError{Code: 400, ErrCode: 10102, Description: "consumer name is not valid"}
	errPushConsumer      = &apiError{Code: 400, ErrCode: 10112, Description: "push consumers are not served here: leave deliver_subject out and pull"}
	errDurableInSubject  = &apiError{Code: 400, ErrCode: 10017, Description: "consumer name in subject does not match durable name in request"}
	errDurableNotSet     = &apiError{Code: 400, ErrCode: 10018, Description: "consumer expected to be durable but a durable name was not set"}
	errEphemeralDurable  = &apiError{Code: 400, ErrCode: 10020, Description: "consumer expected to be ephemeral but a durable name was set in request"}
	errStreamMismatch    = &apiError{Code: 400, ErrCode: 10056, Description: "stream name in subject does not match request"}
	errFilterMismatch    = &apiError{Code: 400, ErrCode: 10131, Description: "Consumer create request did not match filtered subject from create subject"}
	errManyFiltersNamed  = &apiError{Code: 400, ErrCode: 10137, Description: "consumer with multiple subject filters cannot use subject based API"}
	errNameMismatch      = &apiError{Code: 400, ErrCode: 10132, Description: "Consumer Durable and Name have to be equal if both are provided"}
	errTwoFilters        = &apiError{Code: 400, ErrCode: 10136, Description: "consumer cannot have both FilterSubject and FilterSubjects specified"}
	errFilterOverlap     = &apiError{Code: 400, ErrCode: 10138, Description: "consumer subject filters cannot overlap"}
	errFilterEmpty       = &apiError{Code: 400, ErrCode: 10139, Description: "consumer filter in FilterSubjects cannot be empty"}
	errStartPolicy       = &apiError{Code: 400, ErrCode: 10094, Description: "consumer delivery policy"}
	errMaxDeliverBackoff = &apiError{Code: 400, ErrCode: 10116, Description: "max deliver is required to be > length of backoff values"}
	errMetadataLength    = &apiError{Code: 400, ErrCode: 10135, Description: "consumer metadata exceeds maximum size"}
	errNotHere           = &apiError{Code: 400, ErrCode: 10074, Description: "not supported here"}
	errLoading           = &apiError{Code: 503, ErrCode: 10008, Description: "JetStream system temporarily unavailable: consumers are being loaded"}
)

// durable reports whether the consumer outlives its clients and restarts.
func (c *consumerConfig) durable() bool { return c.Durable != "" }

// filters are the subjects that c chooses; none for all.
func (c *consumerConfig) filters() (all []filter) {
	if c.FilterSubject != "" {
		return []filter{filter(c.FilterSubject)}
	}
	for _, f := range c.FilterSubjects {
		all = append(all, filter(f))
	}
	return all
}

// rules are what c says about acknowledgements.
func (c *consumerConfig) rules() ackRules {
	return ackRules{
		policy:     c.AckPolicy,
		wait:       c.AckWait,
		backoff:    c.BackOff,
		maxDeliver: max(c.MaxDeliver, 0),
	}
}

// limits are the box's, for one consumer.
type limits struct {
	ackPending, waiting int
	noDurable           string // why there are none; "": there are
}

// complete puts defaults where c says nothing, as JetStream's answer shows them.
func (c *consumerConfig) complete(most limits) {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&c.DeliverPolicy, deliverAll)
	set(&c.AckPolicy, ackExplicit) // every client names one; this is the safe one
	set(&c.ReplayPolicy, "instant")
	if c.Durable != "" {
		c.Name = c.Durable
	}
	if c.MaxDeliver == 0 || c.MaxDeliver < -1 {
		c.MaxDeliver = -1
	}
	if c.MaxWaiting == 0 {
		c.MaxWaiting = min(defaultMaxWaiting, most.waiting)
	}
	c.MaxWaiting = min(c.MaxWaiting, most.waiting)
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.PauseUntil != nil && c.PauseUntil.IsZero() { // as the nats command says it
		c.PauseUntil = nil
	}
	if c.InactiveThreshold == 0 && !c.durable() {
		c.InactiveThreshold = defaultInactive
	}
	if c.AckPolicy == ackNone {
		return
	}
	if c.AckWait == 0 {
		c.AckWait = defaultAckWait
	}
	if len(c.BackOff) > 0 {
		c.AckWait = c.BackOff[0]
	}
	switch {
	case c.MaxAckPending == 0:
		c.MaxAckPending = min(defaultAckPending, most.ackPending)
	case c.MaxAckPending < 0 || c.MaxAckPending > most.ackPending: // as many as the box allows
		c.MaxAckPending = most.ackPending // nats.go's old API asks for half a million
	}
}

// validate reports the first thing that is wrong with c once it is complete.
func (c *consumerConfig) validate(most limits) error {
	for _, check := range []func(limits) error{c.validateName, c.validateSpoken, c.validateNumbers, c.validateFilters, c.validateStart} {
		if err := check(most); err != nil {
			return err
		}
	}
	return nil
}

func (c *consumerConfig) validateName(limits) error {
	switch {
	case c.Durable != "" && c.Name != c.Durable:
		return errNameMismatch
	case !validConsumerName(c.Name):
		return errConsumerName.with(fmt.Sprintf("want up to %d letters, digits and signs other than . * > / \\, got %.40q", maxConsumerName, c.Name))
	}
	text, err := json.Marshal(c)
	if err != nil {
		return errConsumerCreate.with(err.Error())
	}
	if len(text) > maxConfigBytes {
		return errMetadataLength.with(fmt.Sprintf("the configuration has %d bytes, at most %d are allowed", len(text), maxConfigBytes))
	}
	return nil
}

// validConsumerName reports whether a name can be one token of a subject.
func validConsumerName(name string) bool {
	if name == "" || len(name) > maxConsumerName {
		return false
	}
	for i := range len(name) {
		if b := name[i]; b <= ' ' || b >= 0x7f || strings.IndexByte(`.*>/\`, b) >= 0 {
			return false
		}
	}
	return true
}

// validateSpoken refuses what is not served here.
func (c *consumerConfig) validateSpoken(most limits) error {
	switch {
	case c.durable() && most.noDurable != "":
		return errNotHere.with(most.noDurable)
	case c.DeliverSubject != "", c.DeliverGroup != "", c.Direct, c.Sourcing:
		return errPushConsumer
	case c.Heartbeat != 0, c.FlowControl, c.RateLimit != 0:
		return errPushConsumer.with("idle_heartbeat, flow_control and rate_limit_bps are for those")
	case c.ReplayPolicy != "instant":
		return errNotHere.with("replay_policy is always instant")
	case c.AckPolicy != ackNone && c.AckPolicy != ackAll && c.AckPolicy != ackExplicit:
		return errNotHere.with("ack_policy is none, all or explicit")
	case c.PauseUntil != nil:
		return errNotHere.with("consumers are not paused: do not pull for as long")
	case len(c.PriorityGroups) > 0, c.PriorityPolicy != "" && c.PriorityPolicy != "none", c.PinnedTTL != 0:
		return errNotHere.with("priority groups")
	case c.Replicas != 1:
		return errNotHere.with("num_replicas is 1")
	case c.SampleFrequency != "" && c.SampleFrequency != "0" && c.SampleFrequency != "0%":
		return errNotHere.with("sample_freq: acknowledgements are not sampled")
	}
	return nil
}

func (c *consumerConfig) validateNumbers(most limits) error {
	negative := c.AckWait < 0 || c.MaxWaiting < 0 || c.MaxBatch < 0 || c.MaxExpires < 0 || c.MaxBytes < 0 || c.InactiveThreshold < 0 ||
		slices.ContainsFunc(c.BackOff, func(d time.Duration) bool { return d < 0 })
	tooLong := c.AckWait > longestWait || c.InactiveThreshold > longestWait ||
		slices.ContainsFunc(c.BackOff, func(d time.Duration) bool { return d > longestWait })
	switch {
	case negative:
		return errConsumerCreate.with("numbers must not be negative")
	case tooLong:
		return errConsumerCreate.with("ack_wait, backoff and inactive_threshold are at most a year")
	case len(c.BackOff) > maxBackoffs:
		return errConsumerCreate.with(fmt.Sprintf("more than %d values for backoff", maxBackoffs))
	case len(c.BackOff) > 0 && c.MaxDeliver != -1 && len(c.BackOff) > c.MaxDeliver:
		return errMaxDeliverBackoff
	}
	return nil
}

func (c *consumerConfig) validateFilters(limits) error {
	switch {
	case c.FilterSubject != "" && len(c.FilterSubjects) > 0:
		return errTwoFilters
	case slices.Contains(c.FilterSubjects, ""):
		return errFilterEmpty
	}
	all := c.filters()
	if len(all) > maxFilters {
		return errConsumerCreate.with(fmt.Sprintf("more than %d filters", maxFilters))
	}
	for i, f := range all {
		if !validFilter(f) {
			return errConsumerCreate.with(fmt.Sprintf("filter %.60q is no subject", string(f)))
		}
		for j, g := range all {
			if i != j && f.Covers(g) {
				return errFilterOverlap
			}
		}
	}
	return nil
}

func (c *consumerConfig) validateStart(limits) error {
	wrong := func(format string, v ...any) error { return errStartPolicy.with(fmt.Sprintf(format, v...)) }
	switch c.DeliverPolicy {
	case deliverAll, deliverLast, deliverNew:
	case deliverLastPer:
		if c.durable() {
			return errNotHere.with("deliver_policy last_per_subject with a durable consumer: where it is does not fit into a commit")
		}
		if len(c.filters()) == 0 {
			return wrong("%s needs a filter subject", c.DeliverPolicy)
		}
	case deliverFromSeq:
		if c.OptStartSeq == 0 {
			return wrong("%s needs a start sequence", c.DeliverPolicy)
		}
	case deliverFrom:
		if c.OptStartTime == nil {
			return wrong("%s needs a start time", c.DeliverPolicy)
		}
	default:
		return errNotHere.with(fmt.Sprintf("deliver_policy %.40q", c.DeliverPolicy))
	}
	switch {
	case c.OptStartSeq != 0 && c.DeliverPolicy != deliverFromSeq:
		return wrong("%s, but a start sequence is set", c.DeliverPolicy)
	case c.OptStartTime != nil && c.DeliverPolicy != deliverFrom:
		return wrong("%s, but a start time is set", c.DeliverPolicy)
	}
	return nil
}

// equal reports whether two configurations that are complete are the same.
func (c *consumerConfig) equal(d *consumerConfig) bool {
	return c.unchangeable(d) == "" && c.Durable == d.Durable && c.Description == d.Description &&
		c.AckWait == d.AckWait && c.MaxDeliver == d.MaxDeliver && slices.Equal(c.BackOff, d.BackOff) &&
		slices.Equal(c.filters(), d.filters()) && c.MaxAckPending == d.MaxAckPending && c.HeadersOnly == d.HeadersOnly &&
		c.MaxBatch == d.MaxBatch && c.MaxExpires == d.MaxExpires && c.MaxBytes == d.MaxBytes &&
		c.InactiveThreshold == d.InactiveThreshold && maps.Equal(c.Metadata, d.Metadata)
}

// unchangeable names what an update from c to d would change and may not; "" if
// nothing.
func (c *consumerConfig) unchangeable(d *consumerConfig) string {
	sameTime := c.OptStartTime == nil && d.OptStartTime == nil ||
		c.OptStartTime != nil && d.OptStartTime != nil && c.OptStartTime.Equal(*d.OptStartTime)
	switch {
	case c.Durable != d.Durable:
		return "durable name can not be updated"
	case c.DeliverPolicy != d.DeliverPolicy:
		return "deliver policy can not be updated"
	case c.OptStartSeq != d.OptStartSeq:
		return "start sequence can not be updated"
	case !sameTime:
		return "start time can not be updated"
	case c.AckPolicy != d.AckPolicy:
		return "ack policy can not be updated"
	case c.MemoryStorage != d.MemoryStorage:
		return "storage type can not be updated"
	case c.MaxWaiting != d.MaxWaiting:
		return "max waiting can not be updated"
	}
	return ""
}
