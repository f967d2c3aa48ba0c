//! Fields and methods. Go looks them up in types; here each `.A.B` of a template becomes a call of a function that
//! knows where it stands, for the library has no methods and no words for a field that is missing.

use gotmpl::parse::{CommandNode, Expr, ListNode, Node, PipeNode, Pos};
use gotmpl::{Result, Template, Value as Item};

use super::{Data, functions, zero};

/// Maps whose keys are the user's.
const MAPS: [&str; 13] = [
    "Labels",
    "EngineLabels",
    "Options",
    "DriverOpts",
    "Networks",
    "Ports",
    "PortBindings",
    "ExposedPorts",
    "Volumes",
    "Sysctls",
    "Tmpfs",
    "Annotations",
    "Containers",
];

/// What becomes of the value that is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It is printed.
    Print,
    /// It decides what is printed.
    Test,
    /// It is an argument.
    Argument,
}

/// The lookups of one template.
pub(super) struct Fields<'a> {
    source: &'a str,
    data: Data,
    sites: Vec<Site>,
}

struct Site {
    data: Data,
    used: Use,
    place: String,
    path: Vec<String>,
}

impl<'a> Fields<'a> {
    /// Of a template with this text.
    pub(super) fn new(source: &'a str, data: Data) -> Self {
        Self { source, data, sites: Vec::new() }
    }

    /// Gives the template the functions that were named in its trees.
    pub(super) fn add(self, template: Template) -> Template {
        self.sites.into_iter().enumerate().fold(template, |template, (index, site)| {
            template.func(&name_of(index), move |arguments| site.find(arguments))
        })
    }

    /// Turns the lookups of a tree to calls; refuses functions that are not there.
    pub(super) fn list(&mut self, list: &mut ListNode) -> std::result::Result<(), String> {
        for node in &mut list.nodes {
            match node {
                Node::List(list) => self.list(list)?,
                Node::Action(action) => {
                    let pipe = &mut action.pipe;
                    let alone = pipe.decl.is_empty() && pipe.commands.len() == 1;
                    self.pipe(pipe, if alone { Use::Print } else { Use::Argument })?;
                }
                Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                    self.pipe(&mut branch.pipe, Use::Test)?;
                    self.list(&mut branch.body)?;
                    if let Some(otherwise) = &mut branch.else_body {
                        self.list(otherwise)?;
                    }
                }
                Node::Template(call) => {
                    if let Some(pipe) = &mut call.pipe {
                        self.pipe(pipe, Use::Argument)?;
                    }
                }
                Node::Define(define) => self.list(&mut define.body)?,
                Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
            }
        }
        Ok(())
    }

    fn pipe(&mut self, pipe: &mut PipeNode, used: Use) -> std::result::Result<(), String> {
        for command in &mut pipe.commands {
            self.command(command, used)?;
        }
        Ok(())
    }

    fn command(&mut self, command: &mut CommandNode, used: Use) -> std::result::Result<(), String> {
        let argument = if used == Use::Test { Use::Test } else { Use::Argument };
        for (index, expression) in command.args.iter_mut().enumerate() {
            if index > 0 {
                self.expression(expression, argument)?;
            }
        }
        let Some(first) = command.args.first_mut() else { return Ok(()) };
        if let Some(mut call) = self.call(first, used)? {
            call.extend(command.args.drain(1..));
            command.args = call;
        }
        Ok(())
    }

    fn expression(&mut self, expression: &mut Expr, used: Use) -> std::result::Result<(), String> {
        if let Some(args) = self.call(expression, used)? {
            let pos = expression.pos();
            let commands = vec![CommandNode { pos, args }];
            *expression = Expr::Pipe(pos, PipeNode { pos, decl: Vec::new(), commands, is_assign: false });
        }
        Ok(())
    }

    /// The call in the place of a lookup: the function and what it looks in.
    fn call(&mut self, expression: &mut Expr, used: Use) -> std::result::Result<Option<Vec<Expr>>, String> {
        let argument = if used == Use::Test { Use::Test } else { Use::Argument };
        let (pos, shown, path, receiver) = match expression {
            Expr::Field(pos, path) => (*pos, String::new(), path, Expr::Dot(*pos)),
            Expr::Variable(pos, name, path) if !path.is_empty() => {
                (*pos, name.to_string(), path, Expr::Variable(*pos, name.clone(), Vec::new()))
            }
            Expr::Chain(pos, inner, path) => {
                self.expression(inner, Use::Argument)?;
                (*pos, "(...)".to_owned(), path, (**inner).clone())
            }
            Expr::Pipe(_, pipe) => {
                self.pipe(pipe, argument)?;
                return Ok(None);
            }
            Expr::Identifier(pos, name) if !functions::NAMES.contains(&name.as_str()) => {
                return Err(format!(
                    "template parsing error: template: :{}: function {:?} not defined",
                    pos.line,
                    name.as_str()
                ));
            }
            _ => return Ok(None),
        };
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        let place = self.place(pos, &shown, &path);
        let function = Expr::Identifier(pos, name_of(self.sites.len()).into());
        self.sites.push(Site { data: self.data, used, place, path });
        Ok(Some(vec![function, receiver]))
    }

    /// Go counts columns from 0, and has a chain of fields stand where its second link does.
    fn place(&self, pos: Pos, shown: &str, path: &[String]) -> String {
        let before = self.source.get(..pos.offset).unwrap_or_default();
        let link = match path {
            [first, _, ..] if shown.is_empty() => first.len() + 1,
            _ if shown.starts_with('$') => shown.len(),
            _ => 0,
        };
        let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1) + link;
        format!("template: :{}:{column}: executing \"\" at <{shown}.{}>", pos.line, path.join("."))
    }
}

/// No template can name it itself.
fn name_of(index: usize) -> String {
    format!(".{index}")
}

impl Site {
    fn find(&self, arguments: &[Item]) -> Result<Item> {
        let [receiver, arguments @ ..] = arguments else { return Ok(Item::Nil) };
        let mut found = receiver.clone();
        let mut called = false;
        for (index, name) in self.path.iter().enumerate() {
            let last = index + 1 == self.path.len();
            let field = match &found {
                Item::Map(fields) => fields.get(name.as_str()),
                Item::Nil => return self.fail(&format!("nil pointer evaluating interface {{}}.{name}")),
                other => return self.fail(&format!("can't evaluate field {name} in type {}", other.type_name())),
            };
            found = match field {
                Some(Item::Function(method)) => {
                    called = last;
                    match method(if last { arguments } else { &[] }) {
                        Err(gotmpl::TemplateError::Exec(words)) => return self.fail(&words),
                        result => result?,
                    }
                }
                Some(field) => field.clone(),
                None => {
                    let parent = index.checked_sub(1).and_then(|before| self.path.get(before));
                    self.absent(&found, name, parent.map(String::as_str), last)?
                }
            };
        }
        match found {
            _ if !arguments.is_empty() && !called => {
                let name = self.path.last().map_or("", String::as_str);
                self.fail(&format!("{name} is not a method but has arguments"))
            }
            Item::Nil if self.used == Use::Print => Ok(zero::printed(self.path.last().map_or("", String::as_str))),
            found => Ok(found),
        }
    }

    fn absent(&self, map: &Item, name: &str, parent: Option<&str>, last: bool) -> Result<Item> {
        let missing = || self.fail(&format!("map has no entry for key {name:?}"));
        if self.data == Data::Headers {
            return Ok(Item::String("<no value>".into()));
        }
        if !last {
            return missing();
        }
        if self.data == Data::Row {
            return self.fail(&format!("can't evaluate field {name} in type interface {{}}"));
        }
        if parent.is_some_and(|parent| MAPS.contains(&parent)) {
            return Ok(if self.used == Use::Print { Item::String("<no value>".into()) } else { Item::Nil });
        }
        match zero::of(map, name, self.used == Use::Print) {
            Some(item) => Ok(item),
            None if self.used == Use::Test => Ok(Item::Nil),
            None => missing(),
        }
    }

    fn fail<T>(&self, words: &str) -> Result<T> {
        functions::fail(format!("{}: {words}", self.place))
    }
}
