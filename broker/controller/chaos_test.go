package controller_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/topic"
)

// Whatever happens in whatever order, with controllers that crash, brokers that
// come and go and answers that are lost: nobody is elected outside an ISR, and once
// everyone is back, everything that was asked for is done, and known everywhere.
func TestAnyOrderOfEvents(t *testing.T) {
	seeds := uint64(150)
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		inWorld(t, []int32{1, 2, 3, 4, 5}, func(w *world) {
			c := chaos{world: w, rng: rand.New(rand.NewPCG(seed, 6)), all: []int32{1, 2, 3, 4, 5}}
			c.run(60)
			if w.Failed() {
				w.Logf("seed %d", seed)
			}
		})
		if t.Failed() {
			return
		}
	}
}

type chaos struct {
	*world
	rng    *rand.Rand
	all    []int32
	topics []string
}

func (c *chaos) run(events int) {
	c.fleet.Intercept(c.lossy)
	c.elect()
	for range events {
		c.event()
		if c.rng.IntN(3) > 0 {
			synctest.Wait()
		}
		if c.rng.IntN(10) == 0 {
			time.Sleep(c.cfg.RetryEvery)
		}
	}
	c.fleet.Intercept(nil)
	for _, id := range c.all {
		if !c.live(id) {
			c.register(id)
		}
	}
	c.resign()
	c.lead()
	c.returnAll()
	for range 4 {
		c.catchUp()
		time.Sleep(2*c.cfg.RetryEvery + time.Second)
		synctest.Wait()
	}
	c.consistent()
	if left := c.tree.Left(); left != 0 {
		c.Errorf("%d requests stand in the tree", left)
	}
	for name, t := range c.tree.Topics() {
		for index, a := range t.Partitions {
			if len(a.Adding)+len(a.Removing) > 0 {
				c.Errorf("%s has not arrived: %+v", tp(name, index), a)
			}
		}
	}
}

// returnAll has brokers that wanted to leave come back.
func (c *chaos) returnAll() {
	for _, id := range c.all {
		c.register(id)
		synctest.Wait()
		c.catchUp()
	}
}

// lossy loses requests and answers.
func (c *chaos) lossy(_ context.Context, _ int32, _ kmsg.Request, deliver func() (kmsg.Response, error)) (kmsg.Response, error) {
	switch rand.IntN(8) { // many goroutines are here
	case 0:
		return nil, errors.New("request lost")
	case 1:
		_, _ = deliver()
		return nil, errors.New("answer lost")
	}
	return deliver()
}

func (c *chaos) event() {
	id := c.all[c.rng.IntN(len(c.all))]
	ctx := c.Context()
	switch c.rng.IntN(13) {
	case 0, 1:
		if c.live(id) {
			c.tree.Unregister(id)
		}
	case 2, 3, 4:
		c.register(id) // come, or come back before anybody noticed
	case 5, 6:
		name := fmt.Sprintf("t%d", len(c.topics))
		c.topics = append(c.topics, name)
		c.tree.CreateTopic(name, []topic.ID{{}, topic.NewID()}[c.rng.IntN(2)], c.replicas(), c.replicas())
	case 7:
		if name, ok := c.someTopic(); ok {
			c.tree.DeleteTopic(name)
		}
	case 8:
		if name, ok := c.someTopic(); ok {
			_, _ = c.c.Reassign(ctx, moves{tp(name, 0): c.replicas(), tp(name, 1): nil})
		}
	case 9:
		if name, ok := c.someTopic(); ok && c.tree.Left() == 0 {
			c.tree.WantMoves(moves{tp(name, 1): c.replicas()})
		}
	case 10:
		_, _ = c.c.ControlledShutdown(ctx, id, -1)
	case 11:
		c.catchUp()
		_, _ = c.c.ElectLeaders(ctx, nil, false)
	case 12:
		c.crash()
	}
}

// crash has the controller crash soon, and another be elected.
func (c *chaos) crash() {
	c.term.CrashAt(c.term.Writes()+c.rng.IntN(4), c.rng.IntN(2) == 0, c.cancel)
	c.register(c.all[c.rng.IntN(len(c.all))])
	synctest.Wait()
	c.resign()
	c.elect()
}

func (c *chaos) replicas() []int32 {
	ids := slices.Clone(c.all)
	c.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return ids[:1+c.rng.IntN(3)]
}

func (c *chaos) someTopic() (string, bool) {
	if len(c.topics) == 0 {
		return "", false
	}
	name := c.topics[c.rng.IntN(len(c.topics))]
	_, ok := c.tree.Topic(name)
	return name, ok
}
