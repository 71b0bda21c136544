package group

import "encoding/binary"

// consumerProtocol is the protocol type of groups of consumers, whose members say
// which topics they are subscribed to.
const consumerProtocol = "consumer"

// topics is a set of names.
type topics struct {
	all   bool // every topic: what the members say cannot be read
	names map[string]bool
}

func (t topics) has(name string) bool { return t.all || t.names[name] }

// subscribed is the topics that the members of a consumer group read in this
// generation.
func (g *group) subscribed() topics {
	names := map[string]bool{}
	for _, m := range g.members {
		said, ok := subscription(m.metadata(g.protocol))
		if !ok {
			return topics{all: true}
		}
		for _, name := range said {
			names[name] = true
		}
	}
	return topics{names: names}
}

// subscription reads the topics in a consumer's metadata, whose beginning is the
// same in every version: the version, and an array of names.
func subscription(metadata []byte) (names []string, ok bool) {
	if len(metadata) < 6 {
		return nil, false
	}
	count := int32(binary.BigEndian.Uint32(metadata[2:]))
	rest := metadata[6:]
	if count < 0 || int64(count)*2 > int64(len(rest)) {
		return nil, false
	}
	for range count {
		if len(rest) < 2 {
			return nil, false
		}
		size := int(int16(binary.BigEndian.Uint16(rest)))
		if size < 0 || size > len(rest)-2 {
			return nil, false
		}
		names = append(names, string(rest[2:2+size]))
		rest = rest[2+size:]
	}
	return names, true
}
