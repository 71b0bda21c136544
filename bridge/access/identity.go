package access

import "slices"

// Identity is who a connection belongs to, once that is proved, and what it may do.
type Identity struct {
	name               string
	publish, subscribe subjects
}

var (
	// answers are where those who ask are answered.
	answers pattern = "_INBOX.>"
	// ours are what the bridge listens to: requests of JetStream's clients, in a domain
	// or none, and their acknowledgements. Whoever else heard them could answer in our
	// place. The last takes what is subscribed to by $JS.> itself. What is left is
	// $JS.EVENT.>, which readers may hear.
	ours = []pattern{"$JS.API.>", "$JS.*.API.>", "$JS.ACK.>", "$JS.*"}
)

func newIdentity(name string, publish, subscribe subjects) *Identity {
	subscribe.allow = append(slices.Clip(subscribe.allow), answers)
	subscribe.deny = append(slices.Clip(subscribe.deny), ours...)
	return &Identity{name, publish, subscribe}
}

// anyone is who connects where no users are listed: one who may do all but listen to
// what is ours.
func anyone() *Identity {
	all := subjects{allow: []pattern{">"}}
	return newIdentity("", all, all)
}

// Name is the user's; empty for anyone.
func (id *Identity) Name() string { return id.name }

// MayPublish reports whether a message may be published on subject.
func (id *Identity) MayPublish(subject []byte) bool { return id.publish.contain(subject) }

// contain reports whether subject is allowed, and not taken away.
func (s subjects) contain(subject []byte) bool {
	matches := func(p pattern) bool { return p.Matches(subject) }
	return slices.ContainsFunc(s.allow, matches) && !slices.ContainsFunc(s.deny, matches)
}

// MaySubscribe reports whether every subject that pattern stands for may be heard, so
// that nobody has to look at messages one by one. As with MQTT's topics, subjects that
// begin with $ are not among those that a pattern stands for whose first token is a
// wildcard. What is no pattern may not be subscribed to.
func (id *Identity) MaySubscribe(text string) bool {
	want, err := parsePattern(text)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(id.subscribe.allow, func(p pattern) bool { return p.Covers(want) }) &&
		!slices.ContainsFunc(id.subscribe.deny, func(p pattern) bool {
			wildStart := want[0] == '*' || want[0] == '>'
			return p.Overlaps(want) && !(wildStart && p[0] == '$')
		})
}

// Subjects is what an Identity may do, in nats-server's terms: what is allowed, less
// what is denied.
type Subjects struct{ Allow, Deny []string }

// Publish are the subjects that may be published to.
func (id *Identity) Publish() Subjects { return id.publish.export() }

// Subscribe are the subjects that may be subscribed to.
func (id *Identity) Subscribe() Subjects { return id.subscribe.export() }

func (s subjects) export() Subjects { return Subjects{Allow: texts(s.allow), Deny: texts(s.deny)} }

func texts(patterns []pattern) []string {
	out := make([]string, len(patterns))
	for i, p := range patterns {
		out[i] = string(p)
	}
	return out
}
