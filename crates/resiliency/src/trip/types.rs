//! What is wrong with an expression whatever the counters are.
//!
//! CEL is checked before it runs; the library that evaluates it does not. Variables are of any type, so that only
//! operators between literals, and what is made of them, can be wrong.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators as op};

use super::pattern;

/// How deep an expression may be, which is evaluated by recursion. A row of `+` is as deep as it is long.
const DEEPEST_PART: u32 = 48;
/// How deep comprehensions (`all`, `exists`, `map` …) may be nested. Each level multiplies the work.
const MOST_NESTED: u32 = 2;

/// The functions of the standard library that this sidecar has.
const FUNCTIONS: [&str; 14] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
];

/// What the standard library has for timestamps, and for parts of a duration.
const TIMES: [&str; 11] = [
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "timestamp",
];

/// The type of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    /// Known when it is evaluated.
    Any,
    Bool,
    Bytes,
    Double,
    Int,
    Null,
    String,
    Uint,
    /// A list, a map, a type: nothing that could be compared with a number.
    Other,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Any => "dyn",
            Self::Bool => "bool",
            Self::Bytes => "bytes",
            Self::Double => "double",
            Self::Int => "int",
            Self::Null => "null",
            Self::String => "string",
            Self::Uint => "uint",
            Self::Other => "list",
        }
    }
}

/// Says why the expression can never be evaluated.
pub(super) fn check(expression: &IdedExpr) -> Result<(), String> {
    of(expression, Place::default()).map(|_| ())
}

/// Where a part is: how deep, and in how many comprehensions.
#[derive(Clone, Copy, Default)]
struct Place {
    depth: u32,
    nested: u32,
}

fn of(expression: &IdedExpr, place: Place) -> Result<Type, String> {
    let place = Place {
        depth: place.depth + 1,
        ..place
    };
    if place.depth > DEEPEST_PART {
        return Err(format!("it is more than {DEEPEST_PART} operators deep"));
    }
    match &expression.expr {
        Expr::Unspecified => Err("an expression is missing".to_owned()),
        Expr::Literal(literal) => Ok(of_literal(literal)),
        Expr::Ident(_) => Ok(Type::Any),
        Expr::Call(call) => of_call(call, place),
        Expr::Select(select) => {
            of(&select.operand, place)?;
            Ok(if select.test { Type::Bool } else { Type::Any })
        }
        Expr::List(list) => {
            list.elements
                .iter()
                .try_for_each(|item| of(item, place).map(|_| ()))?;
            Ok(Type::Other)
        }
        Expr::Comprehension(comprehension) => {
            if place.nested == MOST_NESTED {
                return Err(format!("comprehensions are nested more than {MOST_NESTED} deep"));
            }
            let parts = [
                &comprehension.iter_range,
                &comprehension.accu_init,
                &comprehension.loop_cond,
                &comprehension.loop_step,
                &comprehension.result,
            ];
            let inside = Place {
                nested: place.nested + 1,
                ..place
            };
            parts
                .into_iter()
                .try_for_each(|part| of(part, inside).map(|_| ()))?;
            Ok(Type::Any)
        }
        Expr::Map(map) => {
            for entry in &map.entries {
                let EntryExpr::MapEntry(entry) = &entry.expr else {
                    return Err("a map has entries only".to_owned());
                };
                if entry.optional {
                    return Err("optional entries are not there".to_owned());
                }
                of(&entry.key, place)?;
                of(&entry.value, place)?;
            }
            Ok(Type::Other)
        }
        Expr::Struct(_) => Err("undeclared reference to a message".to_owned()),
    }
}

fn of_literal(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::String,
        LiteralValue::UInt(_) => Type::Uint,
    }
}

fn of_call(call: &CallExpr, place: Place) -> Result<Type, String> {
    if let Some(target) = &call.target {
        of(target, place)?;
    }
    let mut types = Vec::with_capacity(call.args.len());
    for argument in &call.args {
        types.push(of(argument, place)?);
    }
    let name = call.func_name.as_str();
    let mismatch = || {
        let names: Vec<_> = types.iter().map(|one| one.name()).collect();
        format!(
            "found no matching overload for '{name}' applied to '({})'",
            names.join(", ")
        )
    };
    match (name, types.as_slice()) {
        (op::LOGICAL_AND | op::LOGICAL_OR, [..]) | (op::LOGICAL_NOT, [_]) => {
            let fits = types.iter().all(|one| matches!(one, Type::Any | Type::Bool));
            fits.then_some(Type::Bool).ok_or_else(mismatch)
        }
        (op::NEGATE, [one]) => {
            let fits = matches!(one, Type::Any | Type::Int | Type::Double);
            fits.then_some(*one).ok_or_else(mismatch)
        }
        (op::EQUALS | op::NOT_EQUALS, [left, right]) => {
            agree(*left, *right).map(|_| Type::Bool).ok_or_else(mismatch)
        }
        (op::GREATER | op::GREATER_EQUALS | op::LESS | op::LESS_EQUALS, [left, right]) => {
            let both = agree(*left, *right).ok_or_else(mismatch)?;
            let fits = !matches!(both, Type::Null | Type::Other);
            fits.then_some(Type::Bool).ok_or_else(mismatch)
        }
        (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, [left, right]) => {
            let both = agree(*left, *right).ok_or_else(mismatch)?;
            let fits = match both {
                Type::Bool | Type::Null => false,
                Type::String | Type::Bytes | Type::Other => name == op::ADD,
                Type::Double => name != op::MODULO,
                Type::Any | Type::Int | Type::Uint => true,
            };
            fits.then_some(both).ok_or_else(mismatch)
        }
        (op::CONDITIONAL, [condition, then, other]) => {
            let fits = matches!(condition, Type::Any | Type::Bool);
            let both = agree(*then, *other).filter(|_| fits);
            both.ok_or_else(mismatch)
        }
        (op::IN, [..]) => Ok(Type::Bool),
        (op::INDEX | op::NOT_STRICTLY_FALSE, [..]) => Ok(Type::Any),
        ("matches", [.., _]) => {
            if let Some(Expr::Literal(LiteralValue::String(pattern))) =
                call.args.last().map(|last| &last.expr)
            {
                pattern::check(pattern.inner())?;
            }
            of_function(name)
        }
        _ => of_function(name),
    }
}

/// The type that both have; `None` when they have two.
fn agree(left: Type, right: Type) -> Option<Type> {
    match (left, right) {
        (Type::Any, _) | (_, Type::Any) => Some(Type::Any),
        (left, right) => (left == right).then_some(left),
    }
}

fn of_function(name: &str) -> Result<Type, String> {
    if TIMES.contains(&name) {
        return Err(format!(
            "there are no timestamps here, and so no '{name}': a breaker counts calls"
        ));
    }
    if !FUNCTIONS.contains(&name) {
        return Err(format!("undeclared reference to '{name}'"));
    }
    Ok(match name {
        "double" => Type::Double,
        "int" | "size" => Type::Int,
        "uint" => Type::Uint,
        "string" => Type::String,
        "bool" | "contains" | "matches" | "startsWith" | "endsWith" => Type::Bool,
        "bytes" => Type::Bytes,
        _ => Type::Any,
    })
}
