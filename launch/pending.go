package launch

// Launcher is declared by another part.
type Launcher struct{ Upload, Execution []string }
