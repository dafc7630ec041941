package orchestrator

import "math/rand/v2"

// RandomName returns a name for a run that nobody named: an adjective and an animal.
func RandomName() string {
	return adjectives[rand.IntN(len(adjectives))] + "-" + animals[rand.IntN(len(animals))]
}

var adjectives = [...]string{
	"able", "agile", "amber", "ample", "apt", "arctic", "astute", "azure", "bold", "brave", "breezy", "bright", "brisk", "calm", "candid",
	"careful", "cheerful", "clear", "clever", "cosmic", "cozy", "crimson", "crisp", "curious", "dapper", "daring", "deft", "eager", "early",
	"earnest", "elegant", "exact", "fair", "fearless", "festive", "fleet", "fluent", "fond", "frank", "fresh", "gallant", "gentle", "glad",
	"golden", "graceful", "grand", "hardy", "hazel", "honest", "humble", "idle", "jolly", "keen", "kind", "lively", "loyal", "lucid", "lucky",
	"lunar", "mellow", "merry", "mild", "modest", "neat", "nimble", "noble", "olive", "patient", "placid", "plucky", "polar", "polite",
	"prompt", "proud", "quick", "quiet", "rapid", "ready", "robust", "rustic", "sage", "scarlet", "serene", "sharp", "shiny", "silent",
	"silver", "sleek", "smart", "snappy", "solar", "solid", "spry", "steady", "stout", "sturdy", "subtle", "sunny", "swift", "tidy",
	"tranquil", "upbeat", "valiant", "velvet", "vivid", "warm", "wise", "witty", "zesty",
}

var animals = [...]string{
	"albatross", "alpaca", "antelope", "badger", "bat", "bear", "beaver", "bee", "beetle", "bison", "boar", "bobcat", "buffalo", "bumblebee",
	"camel", "caribou", "cat", "chameleon", "cheetah", "chinchilla", "cicada", "cod", "condor", "cormorant", "cougar", "coyote", "crab",
	"crane", "cricket", "crow", "deer", "dingo", "dolphin", "donkey", "dove", "dragonfly", "duck", "eagle", "eel", "egret", "elk", "emu",
	"falcon", "ferret", "finch", "firefly", "flamingo", "fox", "frog", "gazelle", "gecko", "gibbon", "giraffe", "goose", "grouse", "gull",
	"hamster", "hare", "hawk", "hedgehog", "heron", "herring", "hippo", "hornet", "horse", "hound", "ibex", "ibis", "iguana", "jackal",
	"jaguar", "jay", "kestrel", "kingfisher", "kiwi", "koala", "ladybug", "lark", "lemur", "leopard", "llama", "lobster", "loon", "lynx",
	"macaw", "magpie", "mallard", "manatee", "marmot", "marten", "meerkat", "mink", "mole", "mongoose", "moose", "moth", "mouse", "mule",
	"newt", "nightingale", "ocelot", "octopus", "okapi", "opossum", "orca", "oriole", "osprey", "ostrich", "otter", "owl", "ox", "oyster",
	"panda", "panther", "parrot", "partridge", "pelican", "penguin", "pheasant", "pigeon", "porcupine", "puffin", "puma", "quail", "rabbit",
	"raccoon", "raven", "robin", "salmon", "seal", "shrew", "skylark", "sloth", "snail", "sparrow", "squid", "squirrel", "starling", "stork",
	"swallow", "swan", "tapir", "tern", "tiger", "toad", "toucan", "trout", "turtle", "viper", "walrus", "weasel", "whale", "wolf",
	"wombat", "woodpecker", "wren", "yak", "zebra",
}
