package prefect

import "sync"

// proposals are the IDs of the states that this client proposed, with those of the states that the
// server wrote in their place. Who proposes a state again did not get, or not believe, the answer.
type proposals struct {
	mu   sync.Mutex
	made map[string]string
	last []string // in the order of their first proposal
}

const rememberedProposals = 4096

// note reports whether the state was proposed before.
func (p *proposals) note(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.made[id]; ok {
		return true
	}
	if p.made == nil {
		p.made = map[string]string{}
	}
	p.made[id] = ""
	p.last = append(p.last, id)
	if len(p.last) > rememberedProposals {
		delete(p.made, p.last[0])
		p.last = p.last[1:]
	}
	return false
}

func (p *proposals) replaced(id, by string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.made[id]; ok {
		p.made[id] = by
	}
}

func (p *proposals) replacement(id string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.made[id]
}
