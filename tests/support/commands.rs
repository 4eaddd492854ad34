//! The commands that a page of the documentation shows.

/// Those in blocks `console`, each with the lines that the page shows of what it prints. A ⋮ stands for lines left out.
pub fn commands(page: &str) -> Vec<(&str, Vec<&str>)> {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    for block in page.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for line in block.lines().filter(|line| !line.is_empty() && *line != "⋮") {
            if let Some(command) = line.strip_prefix("$ ") {
                commands.push((command, Vec::new()));
            } else {
                let (_, shown) = commands.last_mut().expect("a block begins with a command");
                shown.push(line);
            }
        }
    }
    commands
}
