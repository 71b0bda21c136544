package subject

import "fmt"

// World is what rules are held against when a box starts.
type World struct {
	Partitions        func(topic string) (n int32, exists bool)
	AutoCreate        bool  // topics are made when they are first used
	DefaultPartitions int32 // of those
	MaxPayload        int64 // bytes of the largest message that a device may publish
}

// Doubt says that a rule will not do what it says, as things stand.
type Doubt struct {
	Rule int
	Text string // goes on from the rule's number
}

// Doubts are the rules that are well formed and yet will store nothing, or have a
// limit that limits nothing. A topic that is made of the subject is known only when
// a message comes.
func (t *Table) Doubts(w World) []Doubt {
	var doubts []Doubt
	for i := range t.rules {
		for _, text := range t.rules[i].doubts(w) {
			doubts = append(doubts, Doubt{i, text})
		}
	}
	return doubts
}

func (c *rule) doubts(w World) (texts []string) {
	doubt := func(format string, args ...any) { texts = append(texts, fmt.Sprintf(format, args...)) }

	name, partitions, exists := "a topic that it makes", w.DefaultPartitions, false
	if c.fixedTopic != "" {
		name = c.fixedTopic
		if n, ok := w.Partitions(name); ok {
			partitions, exists = n, true
		}
	}
	_, fixed := c.partition.fixed()
	switch {
	case c.fixedTopic != "" && !exists && !w.AutoCreate:
		doubt("stores nothing: topic %s does not exist, and kafka.autoCreateTopics is off", name)
	case fixed && c.index >= partitions && (exists || w.AutoCreate):
		doubt("stores nothing: partition %d is beyond the %d of %s", c.index, partitions, name)
	}
	if c.settings.MaxMessageBytes > w.MaxPayload {
		doubt("limits nothing: maxMessageBytes is %d, and nats.maxPayload %d", c.settings.MaxMessageBytes, w.MaxPayload)
	}
	return texts
}
