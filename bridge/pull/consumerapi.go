package pull

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"
)

// consumerRoutes are what can be asked about consumers, and what cannot.
var consumerRoutes = []route{
	{"API.CONSUMER.CREATE.*", "consumer_create_response", onWorker, answering(createUnnamed)},
	{"API.CONSUMER.CREATE.*.*", "consumer_create_response", onWorker, answering(createNamed)},
	{"API.CONSUMER.CREATE.*.*.>", "consumer_create_response", onWorker, answering(createNamed)},
	{"API.CONSUMER.DURABLE.CREATE.*.*", "consumer_create_response", onWorker, answering(createDurable)},
	{"API.CONSUMER.INFO.*.*", "consumer_info_response", onWorker, answering(getConsumerInfo)},
	{"API.CONSUMER.NAMES.*", "consumer_names_response", onWorker, answering(getConsumerNames)},
	{"API.CONSUMER.LIST.*", "consumer_list_response", onWorker, answering(getConsumerList)},
	{"API.CONSUMER.DELETE.*.*", "consumer_delete_response", onWorker, answering(deleteConsumer)},
	{"API.CONSUMER.PAUSE.*.*", "consumer_pause_response", onWorker, refusing(10074, "consumers are not paused here: do not pull for as long")},
	{"API.CONSUMER.RESET.*.*", "consumer_reset_response", onWorker, refusing(10204, "consumers are not reset here: delete it and make it anew, or change a durable one's offset with Kafka's tools (kafka-consumer-groups --reset-offsets)")},
	{"API.CONSUMER.UNPIN.*.*", "consumer_unpin_response", onWorker, refusing(10160, "priority groups are not spoken here: no client is pinned")},
	{"API.CONSUMER.LEADER.STEPDOWN.*.*", "consumer_leader_stepdown_response", onWorker, refuseCluster},
}

// createRequest makes a consumer, or changes one.
type createRequest struct {
	Stream string         `json:"stream_name"`
	Config consumerConfig `json:"config"`
	Action string         `json:"action"` // create, update, or "" for either
}

// createUnnamed makes a consumer that is not durable and may have a name of its own.
func createUnnamed(s *Service, c *call) (any, error) {
	st, r, err := createOf(c)
	switch {
	case err != nil:
		return nil, err
	case r.Config.Durable != "":
		return nil, errEphemeralDurable
	case r.Config.Name == "":
		r.Config.Name = rand.Text()[:8]
	}
	return s.pulling.create(c, st, r)
}

// createNamed makes a consumer of the name in the subject, durable or not.
func createNamed(s *Service, c *call) (any, error) {
	st, r, err := createOf(c)
	if err != nil {
		return nil, err
	}
	name, of := string(c.tokens[1]), string(c.tokens[2])
	switch {
	case r.Config.Durable != "" && r.Config.Durable != name:
		return nil, errDurableInSubject
	case of != "" && len(r.Config.FilterSubjects) > 0:
		return nil, errManyFiltersNamed
	case of != "" && of != r.Config.FilterSubject:
		return nil, errFilterMismatch
	}
	r.Config.Name = name
	return s.pulling.create(c, st, r)
}

// createDurable is the older way to make a durable consumer.
func createDurable(s *Service, c *call) (any, error) {
	st, r, err := createOf(c)
	name := string(c.tokens[1])
	switch {
	case err != nil:
		return nil, err
	case r.Config.Durable == "":
		return nil, errDurableNotSet
	case r.Config.Durable != name:
		return nil, errDurableInSubject
	}
	r.Config.Name = name
	return s.pulling.create(c, st, r)
}

func createOf(c *call) (st stream, r createRequest, err error) {
	if st, err = streamOf(c.tokens[0]); err != nil {
		return st, r, err
	}
	if err = c.decode(&r); err != nil {
		return st, r, err
	}
	switch {
	case r.Stream != st.name:
		return st, r, errStreamMismatch
	case !slices.Contains([]string{"", "create", "update"}, r.Action):
		return st, r, errBadRequest.with(fmt.Sprintf("action %.40q", r.Action))
	}
	return st, r, nil
}

// limits are those for one consumer.
func (t *consumers) limits() limits {
	return limits{ackPending: t.cfg.AckPending, waiting: t.cfg.WaitingPulls, noDurable: t.cfg.NoDurable}
}

// create makes a consumer, or changes it, and returns what is to be known of it.
func (t *consumers) create(c *call, st stream, r createRequest) (any, error) {
	cfg := &r.Config
	cfg.complete(t.limits())
	if err := cfg.validate(t.limits()); err != nil {
		return nil, err
	}
	if _, err := t.bounds(st); err != nil {
		return nil, err
	}
	at, err := t.where(c, st, r)
	if err != nil {
		return nil, err
	}
	release, err := t.claimMaking(c.ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	t.mu.Lock()
	there, count := t.find([]byte(st.name), []byte(cfg.Name)), t.count
	t.mu.Unlock()
	switch {
	case there != nil:
		err = t.update(c.ctx, there, r)
	case r.Action == "update":
		err = errConsumerNotThere
	case at == nil: // it was there a moment ago
		err = errBusy
	case count >= t.cfg.Consumers:
		err = errMaxConsumers.with(fmt.Sprintf("the box has %d", count))
	default:
		there = t.begin(st, cfg, at)
		err = t.publish(c.ctx, there)
	}
	if err != nil {
		return nil, err
	}
	return t.info(there), nil
}

// makingTimeout is for others to make or delete their consumers first. On a disk that
// stands still it leaves the workers to those who read.
const makingTimeout = 2 * time.Second

// claimMaking waits until nobody else makes or deletes a consumer.
func (t *consumers) claimMaking(ctx context.Context) (release func(), err error) {
	t.mu.Lock()
	loaded := t.loaded
	t.mu.Unlock()
	if !loaded {
		return nil, errLoading
	}
	timeout := time.NewTimer(makingTimeout)
	defer timeout.Stop()
	select {
	case t.making <- struct{}{}:
		return func() { <-t.making }, nil
	case <-ctx.Done():
		return nil, errStopping
	case <-timeout.C:
		return nil, errBusy
	}
}

// begin is a consumer that has given nothing yet.
func (t *consumers) begin(st stream, cfg *consumerConfig, at *start) *consumer {
	c := &consumer{
		stream:   st,
		name:     cfg.Name,
		config:   *cfg,
		filters:  cfg.filters(),
		created:  time.Now().UTC().Truncate(time.Millisecond),
		progress: newProgress(cfg.rules(), at.next),
	}
	for _, offset := range at.awaited {
		c.progress.await(offset)
	}
	return c
}

// publish makes a new consumer known: a durable one once it is kept.
func (t *consumers) publish(ctx context.Context, c *consumer) error {
	if c.config.durable() {
		if err := t.checkGroup(c.name); err != nil {
			return errConsumerCreate.with(err.Error())
		}
		offset, metadata, err := encodeCommit(&c.config, c.created, c.progress, t.cfg.MetadataBytes)
		if err != nil {
			return errMetadataLength.with(err.Error())
		}
		committed := make(chan error, 1)
		t.positions.CommitPosition(c.name, c.stream.topic, c.stream.partition, offset, metadata, func(err error) { committed <- err })
		if err := await(ctx, committed); err != nil {
			return errConsumerCreate.with(fmt.Sprintf("nothing can be committed for it as consumer group %s: %v", c.name, err))
		}
		c.committed = offset
		c.refreshAt = t.now() + t.cfg.RefreshPositions
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(c)
	return nil
}

// await waits for a commit's end.
func await(ctx context.Context, ended <-chan error) error {
	timeout := time.NewTimer(commitTimeout)
	defer timeout.Stop()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return errStopping
	case <-timeout.C:
		return fmt.Errorf("it took longer than %v", commitTimeout)
	}
}

// commitTimeout is for a request that waits for the disk.
const commitTimeout = 10 * time.Second

// update changes a consumer's configuration as far as that is possible; one that is
// the same already is no change.
func (t *consumers) update(ctx context.Context, c *consumer, r createRequest) error {
	t.mu.Lock()
	changed, committed, err := t.change(c, r)
	t.mu.Unlock()
	if err != nil || !changed || committed == nil {
		return err
	}
	if err := await(ctx, committed); err != nil {
		return errConsumerCreate.with(fmt.Sprintf("the change holds, but not beyond a restart: %v", err))
	}
	return nil
}

// change does what update does under the lock. committed, of a durable consumer, says
// how its commit ended.
func (t *consumers) change(c *consumer, r createRequest) (changed bool, committed chan error, err error) {
	switch same := c.config.equal(&r.Config); {
	case c.gone:
		return false, nil, errConsumerNotThere
	case same:
		return false, nil, nil
	case r.Action == "create":
		return false, nil, errConsumerExists
	}
	if what := c.config.unchangeable(&r.Config); what != "" {
		return false, nil, errConsumerCreate.with(what)
	}
	if c.config.durable() {
		if _, _, err := encodeCommit(&r.Config, c.created, c.progress, t.cfg.MetadataBytes); err != nil {
			return false, nil, errMetadataLength.with(err.Error())
		}
		committed = make(chan error, 1)
		c.told = append(c.told, committed)
	}
	now := t.now()
	c.config, c.filters = r.Config, r.Config.filters()
	c.progress.setRules(c.config.rules(), now)
	c.lastActive = now
	t.changed(c, now)
	t.rouse(c)
	t.settle(c)
	return true, committed, nil
}

// deleteConsumer deletes a consumer, and its position.
func deleteConsumer(s *Service, c *call) (any, error) {
	t := s.pulling
	release, err := t.claimMaking(c.ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	t.mu.Lock()
	of := t.find(c.tokens[0], c.tokens[1])
	if of == nil {
		t.mu.Unlock()
		if st, err := streamOf(c.tokens[0]); err != nil {
			return nil, err
		} else if _, err := t.bounds(st); err != nil {
			return nil, err
		}
		return nil, errNoConsumer
	}
	var committing chan error
	if of.committing { // the commit must not come behind what drops it
		committing = make(chan error, 1)
		of.leaving = append(of.leaving, committing)
	}
	t.remove(of)
	t.mu.Unlock()
	if of.config.durable() {
		if committing != nil {
			if err := await(c.ctx, committing); err != nil {
				return nil, err
			}
		}
		forgotten := make(chan error, 1)
		t.forget(of, func(err error) { forgotten <- err })
		if err := await(c.ctx, forgotten); err != nil {
			return nil, errGeneral.with(fmt.Sprintf("the consumer may be there again after a restart: %v", err))
		}
	}
	return struct {
		Success bool `json:"success"`
	}{true}, nil
}
