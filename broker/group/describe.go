package group

import (
	"slices"
	"strings"
)

// Listed is a group in a list.
type Listed struct {
	ID           string
	ProtocolType string
	State        State
}

// Description is a group as tools show it.
type Description struct {
	Listed
	Protocol string // while the group is stable
	Members  []DescribedMember
}

// DescribedMember is a member as tools show it; what it said and what it has to
// read only while the group is stable.
type DescribedMember struct {
	MemberID, InstanceID, ClientID, ClientHost string
	Metadata, Assignment                       []byte
}

// Describe shows a group; ErrUnknownGroup if there is none.
func (c *Coordinator) Describe(id string) (d Description, err error) {
	for {
		k, err := c.find(id)
		switch {
		case err != nil:
			return d, err
		case k == nil:
			return d, unknownGroup(id)
		case k.read(func(g *group) { d = g.describe() }):
			return d, nil
		}
	}
}

func (g *group) describe() Description {
	d := Description{Listed: g.listed()}
	if g.state == Stable {
		d.Protocol = g.protocol
	}
	for _, m := range g.members {
		out := DescribedMember{MemberID: m.id, InstanceID: m.instanceID, ClientID: m.clientID, ClientHost: m.clientHost}
		if g.state == Stable {
			out.Metadata, out.Assignment = m.metadata(g.protocol), m.assignment
		}
		d.Members = append(d.Members, out)
	}
	return d
}

func (g *group) listed() Listed { return Listed{g.id, g.protocolType, g.state} }

// List returns all groups in the order of their ids. While some are being loaded
// it returns those that are there, and ErrLoading.
func (c *Coordinator) List() (all []Listed, err error) {
	for _, k := range c.cells() {
		k.read(func(g *group) { all = append(all, g.listed()) })
	}
	slices.SortFunc(all, func(a, b Listed) int { return strings.Compare(a.ID, b.ID) })
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.opened {
		return all, ErrLoading
	}
	for _, s := range c.shards {
		if s.status == loading {
			return all, ErrLoading
		}
	}
	return all, nil
}
