package cluster

import (
	"context"

	"github.com/headwater/headwater/broker/quota"
)

// soloQuotas are byte rates by Kafka's names for them.
type soloQuotas struct {
	Default map[string]int64            `json:"default,omitempty"`
	Clients map[string]map[string]int64 `json:"clients,omitempty"` // by client id
}

// AlterQuotas implements Coordinator.
func (s *Solo) AlterQuotas(_ context.Context, changes []quota.Change, validateOnly bool) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	before := s.state.Quotas.table()
	table, err := before.With(changes)
	if err != nil || validateOnly || table.Equal(before) {
		return err
	}
	next := s.state
	next.Quotas = quotasOf(table)
	if err := s.commit(next); err != nil {
		return err
	}
	s.publish()
	s.log.Info("client quotas changed", "clients", len(table.Clients), "changes", len(changes))
	return nil
}

// table makes of q what is looked up. What this headwater does not know, as after a
// downgrade, is left out.
func (q soloQuotas) table() *quota.Table {
	t := &quota.Table{Default: ratesOf(q.Default), Clients: make(map[string]quota.Rates, len(q.Clients))}
	for clientID, named := range q.Clients {
		if rates := ratesOf(named); rates != (quota.Rates{}) {
			t.Clients[clientID] = rates
		}
	}
	return t
}

func ratesOf(named map[string]int64) (rates quota.Rates) {
	for name, rate := range named {
		if k, ok := quota.ParseKind(name); ok {
			rates[k] = max(rate, 0)
		}
	}
	return rates
}

// quotasOf is what a document has of t.
func quotasOf(t *quota.Table) soloQuotas {
	q := soloQuotas{Default: namedRates(t.Default), Clients: make(map[string]map[string]int64, len(t.Clients))}
	for clientID, rates := range t.Clients {
		q.Clients[clientID] = namedRates(rates)
	}
	return q
}

func namedRates(rates quota.Rates) map[string]int64 {
	named := map[string]int64{}
	for k, rate := range rates {
		if rate != 0 {
			named[quota.Kind(k).String()] = rate
		}
	}
	return named
}
