package mysql

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"kaname.dev/kaname/fault"
	"kaname.dev/kaname/rib/mysql/judge"
	"kaname.dev/kaname/rib/mysql/topology"
)

// policyIn is how a topology is to be treated, as far as it is said.
type policyIn struct {
	Durability   string        `name:"durability" enum:",lossless-semisync,async" help:"when a write counts as done" ja:"書き込みの永続性の方針"`
	Acks         int           `name:"acks" help:"replicas that must have a write before it is acknowledged" ja:"確認応答が必要なレプリカ数"`
	Unprovable   string        `name:"unprovable" enum:",wait,promote-after" help:"what to do when it cannot be proved that the new primary has every acknowledged write" ja:"完全性を証明できない場合の動作"`
	PromoteAfter time.Duration `name:"promote-after" help:"after how long to open without that proof" ja:"証明なしで昇格するまでの時間"`
	Manual       string        `name:"manual" enum:",yes,no" help:"no failover without a person" ja:"自動フェイルオーバーを行わない"`
	Kill         string        `name:"kill" enum:",yes,no" help:"an agent may kill a server that cannot be closed otherwise" ja:"閉じられないサーバーの強制終了を許可する"`
	Cooldown     time.Duration `name:"cooldown" help:"after a failover that nobody has acknowledged, until the next by itself" ja:"次の自動フェイルオーバーまでの間隔"`
	Lease        time.Duration `name:"lease" help:"how long the primary stays open without a word from the others" ja:"プライマリのリース時間"`
	Silence      time.Duration `name:"silence" help:"how long a server may be silent before it counts as hung or cut off" ja:"無応答とみなすまでの時間"`
	Stuck        time.Duration `name:"stuck" help:"how long a commit may take before the primary counts as unable to commit" ja:"コミット不能とみなすまでの時間"`
	Drain        time.Duration `name:"drain" help:"how long a candidate may take to apply what it has received" ja:"適用完了を待つ最大時間"`
	MaxLag       time.Duration `name:"max-lag" help:"lag of a replica at which a switchover to it is refused" ja:"切り替え先として許容する遅れ"`
	FenceCommand []string      `name:"fence-command" help:"command, with its arguments, that a core runs to cut off a server whose agent does not answer; \"none\" for none" ja:"応答しないホストを遮断するコマンド"`
	Endpoint     []string      `name:"endpoint" help:"further way by which clients are led: a kind (vip, haproxy, proxysql, consul, hook) and settings, \"haproxy socket=/run/haproxy.sock\"; \"none\" for none" ja:"クライアントの誘導方法"`
}

// apply changes a policy as far as something is said.
func (in *policyIn) apply(p topology.Policy) (topology.Policy, error) {
	if in.Durability != "" {
		p.Durability = topology.Durability(in.Durability)
	}
	if in.Acks != 0 {
		p.Acks = in.Acks
	}
	if in.Unprovable != "" {
		p.Unprovable = in.Unprovable
	}
	if in.Manual != "" {
		p.Manual = in.Manual == "yes"
	}
	if in.Kill != "" {
		p.Kill = in.Kill == "yes"
	}
	for _, d := range []struct {
		said time.Duration
		to   *time.Duration
	}{
		{in.PromoteAfter, &p.PromoteAfter},
		{in.Cooldown, &p.Cooldown},
		{in.Lease, &p.Lease},
		{in.Silence, &p.Silence},
		{in.Stuck, &p.Stuck},
		{in.Drain, &p.Drain},
		{in.MaxLag, &p.MaxLag},
	} {
		if d.said != 0 {
			*d.to = d.said
		}
	}
	if len(in.FenceCommand) > 0 {
		p.FenceCommand = in.FenceCommand
		if in.FenceCommand[0] == "none" {
			p.FenceCommand = nil
		}
	}
	if len(in.Endpoint) > 0 {
		p.Endpoints = nil
		for _, text := range rejoined(in.Endpoint) {
			if text == "none" {
				continue
			}
			e, err := readEndpoint(text)
			if err != nil {
				return p, err
			}
			p.Endpoints = append(p.Endpoints, e)
		}
	}
	return p, judge.Check(p)
}

// kinds are the endpoints that can be named.
var kinds = []string{"vip", "haproxy", "proxysql", "consul", "hook", "none"}

// rejoined puts together what the commas of a list have parted: settings may have some.
func rejoined(list []string) []string {
	var out []string
	for _, text := range list {
		kind, _, _ := strings.Cut(strings.TrimSpace(text), " ")
		if n := len(out); n > 0 && !slices.Contains(kinds, kind) {
			out[n-1] += "," + text
			continue
		}
		out = append(out, text)
	}
	return out
}

// readEndpoint reads "kind key=value key=value".
func readEndpoint(text string) (topology.Endpoint, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return topology.Endpoint{}, fault.Invalid("an endpoint is empty").Try("write it as: haproxy socket=/run/haproxy.sock backend=shop")
	}
	e := topology.Endpoint{Kind: words[0], Settings: map[string]string{}}
	for _, w := range words[1:] {
		k, v, ok := strings.Cut(w, "=")
		if !ok {
			return e, fault.Invalid(fmt.Sprintf("endpoint %q: %q is not key=value", text, w)).Try("write it as: haproxy socket=/run/haproxy.sock backend=shop")
		}
		e.Settings[k] = v
	}
	return e, nil
}
