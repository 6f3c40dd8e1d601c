// SPDX-License-Identifier: GPL-2.0-only OR MIT
// Places migration points: a test of the thread's flag, and behind it, cold, a call of the runtime.
//
// What must hold is that a thread comes to a point soon, so every way to run for long has points on it: loops, and
// recursion, through function pointers and code elsewhere too. A point behind a call that may move anyway is free of
// cost, since both tests are one (see capture); so these are preferred:
//   - recursion has its points behind calls that may come back to the function;
//   - a loop has one behind a call that it makes in each round, or at its head;
//   - an innermost loop whose rounds can be counted runs a few thousand of them at a time, with a point between, and
//     has a copy as it was for when there are no more than that (loops.cpp);
//   - an interpreter's loop over a switch has one only where the interpreted program may jump;
//   - loops that are short for sure have none, and neither have functions that never move.

#include "popcorn.h"

#include "llvm/ADT/PostOrderIterator.h"
#include "llvm/ADT/SCCIterator.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Analysis/AssumptionCache.h"
#include "llvm/Analysis/CFG.h"
#include "llvm/Analysis/LoopInfo.h"
#include "llvm/Analysis/OptimizationRemarkEmitter.h"
#include "llvm/Analysis/ScalarEvolution.h"
#include "llvm/Analysis/ScalarEvolutionExpressions.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/Analysis/TargetTransformInfo.h"
#include "llvm/Analysis/ValueTracking.h"
#include "llvm/IR/Dominators.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Transforms/Utils/BasicBlockUtils.h"
#include "llvm/Transforms/Utils/LoopSimplify.h"
#include "llvm/Transforms/Utils/LoopUtils.h"
#include "llvm/Transforms/Utils/ScalarEvolutionExpander.h"
#include "llvm/Transforms/Utils/UnrollLoop.h"

namespace popcorn {

enum PointsKind { Manual, Functions, Loops };

static cl::opt<PointsKind> Kind("popcorn-points", cl::init(Loops),
	cl::desc("Where migration points are placed"),
	cl::values(clEnumValN(Manual, "manual", "only where the program calls for one"),
		   clEnumValN(Functions, "function", "at entries of functions that call others"),
		   clEnumValN(Loops, "loops", "in recursion and in loops, so that none is far away")));

static cl::opt<unsigned> Stride("popcorn-stride", cl::init(4096),
	cl::desc("Rounds of an innermost loop between two migration points (default 4096)"));

// A loop whose rounds aren't counted: how often it is repeated between two points, if it has at most so many
// instructions. Most of them, over strings and short lists, end before the first point then.
static constexpr unsigned UnrollCount = 4, UnrollSize = 12;

// A loop whose rounds are counted has a copy without points for when they are few, if it has at most so many
// instructions.
static constexpr unsigned CopySize = 100;

// What it may cost to find out how many they are, in LLVM's units, about an instruction each.
static constexpr unsigned CheapCount = 4;

// A switch with so many ways is an interpreter's.
static constexpr unsigned ManyWays = 8;

void addPoint(Instruction *Before, Runtime &RT)
{
	IRBuilder<> B(Before);
	Value *Asked = B.CreateICmpNE(RT.load(B, Flag, "flag"), B.getInt32(0), "asked");
	Instruction *Then = SplitBlockAndInsertIfThen(Asked, Before->getIterator(), false, RT.unlikely());

	B.SetInsertPoint(Then);
	B.SetCurrentDebugLocation(Before->getDebugLoc());
	RT.point(B);
}

namespace {

// The analyses of one function, in the order in which they depend on each other.
struct Analyses {
	explicit Analyses(Function &F)
	    : TLIImpl(Triple(F.getParent()->getTargetTriple())), TLI(TLIImpl, &F), AC(F), DT(F), LI(DT),
	      SE(F, TLI, AC, DT, LI) {}

	TargetLibraryInfoImpl TLIImpl;
	TargetLibraryInfo TLI;
	AssumptionCache AC;
	DominatorTree DT;
	LoopInfo LI;
	ScalarEvolution SE;
};

using Edge = std::pair<BasicBlock *, BasicBlock *>;

class Placement {
public:
	Placement(Module &M, const NeverMoves &Never, Runtime &RT) : M(M), Never(Never), RT(RT) {}
	void run();

private:
	bool isOurs(const Function &F) const
	{
		return !F.isDeclarationForLinker() && !Never.contains(F) && !F.hasFnAttribute(Attribute::Naked);
	}
	const Function *callee(const CallBase &CB) const;	// null: unknown
	void findRecursion();
	void findLong();
	bool isShort(Loop &L, Analyses &A) const;
	bool mayComeBack(const CallBase &CB) const;
	bool mayMoveIn(Loop &L) const;
	void place(Function &F);
	void placeInRecursion(Function &F, DominatorTree &DT);
	void placeInLoop(Loop &L, Analyses &A);

	Module &M;
	const NeverMoves &Never;
	Runtime &RT;
	DenseMap<const Function *, unsigned> Component;	// of the call graph, if it has a cycle; 0 otherwise
	unsigned Unknown = 0;				// the component of all that isn't known
	DenseSet<const Function *> Long;		// functions with points or with calls that have them
	SetVector<Instruction *> Points;		// placed in front of these
	SmallVector<Edge> OnEdges;			// and where control goes from one block to the other
	struct Counted {
		CountedLoop Loop;
		SmallVector<BasicBlock *> Copied;	// for few rounds, without points; empty if not at all
	};
	SmallVector<Counted> CountedLoops;
	struct Uncounted {
		BasicBlock *Header, *Preheader;
		Value *Few;
		SmallVector<BasicBlock *> Blocks;
		Edge Point;
	};
	SmallVector<Uncounted> Copied;		// other loops with such a copy
};

// A function that is defined here, or null for whatever is called through a pointer or lies elsewhere.
const Function *Placement::callee(const CallBase &CB) const
{
	auto *F = dyn_cast<Function>(CB.getCalledOperand()->stripPointerCastsAndAliases());

	return F && !F->isDeclaration() && !F->isInterposable() ? F : nullptr;
}

// Tarjan's algorithm on the calls in the module. Node 0 stands for the rest of the world: it calls what can be called
// from there, and is called by every call that isn't known.
void Placement::findRecursion()
{
	std::vector<const Function *> Nodes{nullptr};
	DenseMap<const Function *, unsigned> Index;
	std::vector<SmallVector<unsigned, 4>> Edges(1);

	for (const Function &F : M)
		if (isOurs(F)) {
			Index[&F] = Nodes.size();
			Nodes.push_back(&F);
		}
	Edges.resize(Nodes.size());
	for (unsigned N = 1; N < Nodes.size(); N++) {
		if (!Nodes[N]->hasLocalLinkage() || Nodes[N]->hasAddressTaken())
			Edges[0].push_back(N);
		for (const Instruction &I : instructions(*Nodes[N])) {
			auto *CB = dyn_cast<CallBase>(&I);
			if (!CB || !mayReachPoint(*CB, Never))
				continue;
			const Function *F = callee(*CB);
			if (!F)
				Edges[N].push_back(0);
			else if (auto It = Index.find(F); It != Index.end())
				Edges[N].push_back(It->second);
		}
	}

	struct Visit { unsigned Node, Next; };
	std::vector<unsigned> Number(Nodes.size()), Low(Nodes.size()), Stack;
	std::vector<bool> OnStack(Nodes.size());
	std::vector<Visit> Visits;
	unsigned Counter = 0, Components = 0;

	for (unsigned Root = 0; Root < Nodes.size(); Root++) {
		if (Number[Root])
			continue;
		Visits.push_back({Root, 0});
		while (!Visits.empty()) {
			auto &[N, Next] = Visits.back();

			if (!Next) {
				Number[N] = Low[N] = ++Counter;
				Stack.push_back(N);
				OnStack[N] = true;
			}
			if (Next < Edges[N].size()) {
				unsigned To = Edges[N][Next++];

				if (!Number[To])
					Visits.push_back({To, 0});
				else if (OnStack[To])
					Low[N] = std::min(Low[N], Number[To]);
				continue;
			}
			unsigned Done = N;
			Visits.pop_back();
			if (!Visits.empty())
				Low[Visits.back().Node] = std::min(Low[Visits.back().Node], Low[Done]);
			if (Low[Done] != Number[Done])
				continue;
			bool Cycle = Stack.back() != Done || is_contained(Edges[Done], Done);
			Components += Cycle;
			for (unsigned Member = ~0u; Member != Done;) {
				Member = Stack.back();
				Stack.pop_back();
				OnStack[Member] = false;
				if (!Cycle)
					continue;
				if (Member)
					Component[Nodes[Member]] = Components;
				else
					Unknown = Components;
			}
		}
	}
}

bool Placement::mayComeBack(const CallBase &CB) const
{
	if (!mayReachPoint(CB, Never))
		return false;
	unsigned Mine = Component.lookup(CB.getFunction());
	const Function *F = callee(CB);
	return Mine && (F ? Component.lookup(F) : Unknown) == Mine;
}

// A loop that ends when a number is divided down, to its digits or bits.
static bool divides(Loop &L)
{
	auto *Branch = L.getLoopLatch() ? dyn_cast<BranchInst>(L.getLoopLatch()->getTerminator()) : nullptr;
	auto *Compare = Branch && Branch->isConditional() ? dyn_cast<ICmpInst>(Branch->getCondition()) : nullptr;

	if (!Compare)
		return false;
	ICmpInst::Predicate Stays = L.contains(Branch->getSuccessor(0)) ? Compare->getPredicate()
									: Compare->getInversePredicate();
	auto *Least = dyn_cast<ConstantInt>(Compare->getOperand(1));
	if (!Least || !(Stays == ICmpInst::ICMP_UGT || (Stays == ICmpInst::ICMP_UGE && !Least->isZero()) ||
			(Stays == ICmpInst::ICMP_NE && Least->isZero()) ||
			(Stays == ICmpInst::ICMP_SGT && !Least->isNegative())))
		return false;
	return any_of(L.getHeader()->phis(), [&](PHINode &P) {
		auto *Next = dyn_cast<BinaryOperator>(P.getIncomingValueForBlock(L.getLoopLatch()));
		auto *By = Next && Next->getOperand(0) == &P ? dyn_cast<ConstantInt>(Next->getOperand(1)) : nullptr;

		if (!By || (Compare->getOperand(0) != &P && Compare->getOperand(0) != Next))
			return false;
		return Next->getOpcode() == Instruction::LShr
			       ? !By->isZero()
			       : (Next->getOpcode() == Instruction::UDiv || Next->getOpcode() == Instruction::SDiv) &&
					 By->getValue().sgt(1);
	});
}

// A loop that goes through an object of known size in steps, in each round: how many steps there are.
static uint64_t stepsInObject(Loop &L, Analyses &A, const DataLayout &DL)
{
	uint64_t Least = 0;

	for (BasicBlock *BB : L.blocks()) {
		if (A.LI.getLoopFor(BB) != &L || !L.getLoopLatch() || !A.DT.dominates(BB, L.getLoopLatch()))
			continue;
		for (Instruction &I : *BB) {
			const Value *P = getLoadStorePointerOperand(&I);
			auto *Rec = P ? dyn_cast<SCEVAddRecExpr>(A.SE.getSCEV(const_cast<Value *>(P))) : nullptr;
			if (!Rec || Rec->getLoop() != &L || !Rec->isAffine())
				continue;
			auto *Step = dyn_cast<SCEVConstant>(Rec->getStepRecurrence(A.SE));
			const Value *Object = getUnderlyingObject(P);
			Type *T = nullptr;
			if (auto *G = dyn_cast<GlobalVariable>(Object); G && G->hasDefinitiveInitializer())
				T = G->getValueType();
			else if (auto *Local = dyn_cast<AllocaInst>(Object); Local && Local->isStaticAlloca())
				T = Local->getAllocatedType();
			if (!Step || Step->isZero() || !T || !T->isSized())
				continue;
			uint64_t Steps = DL.getTypeAllocSize(T) / Step->getAPInt().abs().getLimitedValue() + 1;
			Least = Least ? std::min(Least, Steps) : Steps;
		}
	}
	return Least;
}

// The most rounds that a loop makes, all in it counted; 0 if nobody knows.
static uint64_t mostRounds(Loop &L, Analyses &A, const DataLayout &DL)
{
	uint64_t Own = A.SE.getSmallConstantMaxTripCount(&L), Inner = 0;

	for (uint64_t Other : {uint64_t(divides(L) ? 128 : 0), stepsInObject(L, A, DL)})
		if (Other && (!Own || Other < Own))
			Own = Other;
	for (Loop *Sub : L) {
		uint64_t Rounds = mostRounds(*Sub, A, DL);

		if (!Rounds)
			return 0;
		Inner += Rounds;
	}
	return Own * std::max<uint64_t>(Inner, 1);
}

bool Placement::isShort(Loop &L, Analyses &A) const
{
	uint64_t Most = mostRounds(L, A, RT.DL);

	return Most && Most <= Stride;
}

// Which functions will have points in them or in what they call.
void Placement::findLong()
{
	DenseMap<const Function *, SmallVector<const Function *, 4>> Callers;
	SmallVector<const Function *> Work;

	for (Function &F : M) {
		if (!isOurs(F))
			continue;
		Analyses A(F);
		bool Is = Component.lookup(&F) ||
			  any_of(A.LI.getLoopsInPreorder(), [&](Loop *L) { return !isShort(*L, A); });
		for (const Instruction &I : instructions(F))
			if (auto *CB = dyn_cast<CallBase>(&I); CB && mayReachPoint(*CB, Never)) {
				if (const Function *G = callee(*CB))
					Callers[G].push_back(&F);
				else
					Is = true;
			}
		if (Is)
			Work.push_back(&F);
	}
	while (!Work.empty()) {
		const Function *F = Work.pop_back_val();

		if (Long.insert(F).second)
			append_range(Work, Callers.lookup(F));
	}
}

// A call in tail position stays there: its point stands in front of it.
static bool isTail(CallInst &Call)
{
	auto *Ret = dyn_cast_or_null<ReturnInst>(Call.getNextNonDebugInstruction());

	return Call.isMustTailCall() ||
	       (Ret && (!Ret->getReturnValue() || Ret->getReturnValue() == &Call));
}

static Instruction *besideCall(CallInst &Call)
{
	return isTail(Call) ? &Call : Call.getNextNode();
}

// One point in each activation on the way to any of the calls will do.
void Placement::placeInRecursion(Function &F, DominatorTree &DT)
{
	SmallVector<CallInst *> Chosen;

	for (BasicBlock *BB : ReversePostOrderTraversal<Function *>(&F))
		for (Instruction &I : *BB) {
			auto *Call = dyn_cast<CallInst>(&I);

			if (!Call || !mayComeBack(*Call) ||
			    any_of(Chosen, [&](CallInst *C) { return DT.dominates(C, Call); }))
				continue;
			Chosen.push_back(Call);
			Points.insert(besideCall(*Call));
		}
}

bool Placement::mayMoveIn(Loop &L) const
{
	return any_of(L.blocks(), [&](BasicBlock *BB) {
		return any_of(*BB, [&](Instruction &I) {
			auto *CB = dyn_cast<CallBase>(&I);
			return CB && mayReachPoint(*CB, Never);
		});
	});
}

// How often the loop goes round at most, where that is easy to say in front of it.
static const SCEV *roundsAtMost(Loop &L, Analyses &A)
{
	SmallVector<BasicBlock *> Leaving;
	TargetTransformInfo TTI(L.getHeader()->getDataLayout());
	SCEVExpander Expander(A.SE, L.getHeader()->getDataLayout(), "rounds");

	if (!L.getLoopPreheader() || !L.getLoopLatch())
		return nullptr;
	L.getExitingBlocks(Leaving);
	for (BasicBlock *BB : Leaving) {
		const SCEV *Count = A.SE.getExitCount(&L, BB);
		Instruction *Before = L.getLoopPreheader()->getTerminator();

		if (A.DT.dominates(BB, L.getLoopLatch()) && !isa<SCEVCouldNotCompute>(Count) &&
		    Expander.isSafeToExpandAt(Count, Before) &&
		    !Expander.isHighCostExpansion(Count, &L, CheapCount, &TTI, Before))
			return Count;
	}
	return nullptr;
}

// An interpreter goes ahead in its code until it jumps; only where it may jump it needs a point. It is a loop over a
// switch in which a pointer, "ahead", grows by constants on some ways round. Edges of all others, all together Back
// if there is no such pointer.
static SmallVector<Edge> notAhead(Loop &L, Edge Back, const LoopInfo &LI)
{
	const DataLayout &DL = L.getHeader()->getDataLayout();
	SmallVector<Edge> Fewest{Back};
	unsigned MostAhead = 0;

	for (PHINode &P : L.getHeader()->phis()) {
		if (!P.getType()->isPointerTy())
			continue;
		struct Way { Value *V; APInt Offset; Edge E; };
		SmallVector<Way> Work{{P.getIncomingValueForBlock(Back.first), APInt(64, 0), Back}};
		SmallSetVector<Edge, 8> Others;
		SmallPtrSet<Value *, 8> Seen;
		unsigned Ahead = 0;

		while (!Work.empty()) {
			Way W = Work.pop_back_val();
			Value *Base = W.V->stripAndAccumulateConstantOffsets(DL, W.Offset, false);
			auto *Joined = dyn_cast<PHINode>(Base);

			if (Base == &P && W.Offset.isStrictlyPositive())
				Ahead++;
			else if (Base != &P && Joined && LI.getLoopFor(Joined->getParent()) == &L &&
				 all_of(Joined->blocks(), [&](BasicBlock *BB) { return LI.getLoopFor(BB) == &L; }) &&
				 Seen.insert(Joined).second)
				for (unsigned N = 0; N < Joined->getNumIncomingValues(); N++)
					Work.push_back({Joined->getIncomingValue(N), W.Offset,
							{Joined->getIncomingBlock(N), Joined->getParent()}});
			else
				Others.insert(W.E);
		}
		if (Ahead > MostAhead && !Others.empty()) {
			MostAhead = Ahead;
			Fewest.assign(Others.begin(), Others.end());
		}
	}
	return Fewest;
}

// Small, and without calls, beside which another loop isn't felt.
static bool canCopy(Loop &L)
{
	unsigned Size = 0;

	if (L.getHeader()->getParent()->hasOptSize())
		return false;
	for (BasicBlock *BB : L.blocks())
		for (Instruction &I : BB->instructionsWithoutDebug()) {
			Size += !isa<PHINode>(I);
			if (isa<CallBase>(I) && !isa<IntrinsicInst>(I))
				return false;
		}
	return Size <= CopySize;
}

void Placement::placeInLoop(Loop &L, Analyses &A)
{
	SmallVector<BasicBlock *> Latches;
	auto everyRound = [&](BasicBlock *BB) {
		return all_of(Latches, [&](BasicBlock *Latch) { return A.DT.dominates(BB, Latch); });
	};

	if (isShort(L, A))
		return;
	L.getLoopLatches(Latches);
	for (BasicBlock *BB : L.blocks()) {
		if (A.LI.getLoopFor(BB) != &L || !everyRound(BB))
			continue;
		for (Instruction &I : *BB) {
			auto *Call = dyn_cast<CallInst>(&I);
			if (!Call || isTail(*Call) || !mayReachPoint(*Call, Never))
				continue;
			const Function *G = callee(*Call);
			if (!G || Long.contains(G)) {
				Points.insert(Call->getNextNode());
				return;
			}
		}
	}
	CountedLoop C;
	if (L.isInnermost() && !mayMoveIn(L) && isCounted(L, A.SE, C)) {
		CountedLoops.push_back({C, {}});
		if (A.SE.getSmallConstantTripCount(&L) == 0 && canCopy(L))
			append_range(CountedLoops.back().Copied, L.blocks());
		return;
	}
	if (Latches.size() != 1) {
		Points.insert(&*L.getHeader()->getFirstInsertionPt());
		return;
	}
	// On the way back, so that a loop of one round meets none.
	Edge Back{Latches[0], L.getHeader()};
	if (L.isInnermost() && canCopy(L)) {
		if (const SCEV *Rounds = roundsAtMost(L, A)) {
			Instruction *Before = L.getLoopPreheader()->getTerminator();
			IRBuilder<> B(Before);
			Value *Count = SCEVExpander(A.SE, RT.DL, "rounds").expandCodeFor(Rounds, nullptr, Before);
			Value *Few = B.CreateICmpULT(Count, ConstantInt::get(Count->getType(), Stride));

			Copied.push_back({L.getHeader(), L.getLoopPreheader(), Few, {}, Back});
			append_range(Copied.back().Blocks, L.blocks());
			return;
		}
	}
	SmallVector<Edge> Edges{Back};
	for (BasicBlock *BB : L.blocks())
		if (auto *Switch = dyn_cast<SwitchInst>(BB->getTerminator());
		    Switch && Switch->getNumSuccessors() >= ManyWays && everyRound(BB))
			Edges = notAhead(L, Back, A.LI);
	append_range(OnEdges, Edges);
}

// Where a point is to be for who comes by the edge. Both blocks keep the other edges that they have.
static Instruction *onEdge(Edge E)
{
	auto [From, To] = E;

	assert(is_contained(successors(From), To));
	if (From->getSingleSuccessor())
		return From->getTerminator();
	if (To->getSinglePredecessor())
		return &*To->getFirstInsertionPt();
	return SplitCriticalEdge(From->getTerminator(), GetSuccessorNumber(From, To),
				 CriticalEdgeSplittingOptions().setMergeIdenticalEdges())->getTerminator();
}

// To be counted a loop needs a block of its own in front of it.
static void simplifyLoops(Analyses &A)
{
	for (Loop *L : A.LI) {
		simplifyLoop(L, &A.DT, &A.LI, &A.SE, &A.AC, nullptr, false);
		formLCSSARecursively(*L, A.DT, &A.LI, &A.SE);
	}
}

// Loops of which nobody knows how long they run, small ones: a point after several rounds only.
static void unrollUncounted(Function &F)
{
	Analyses A(F);
	SmallVector<Loop *> Small;

	simplifyLoops(A);
	for (Loop *L : A.LI.getLoopsInPreorder()) {
		CountedLoop C;
		unsigned Size = 0;

		if (!L->isInnermost() || mostRounds(*L, A, F.getDataLayout()) || isCounted(*L, A.SE, C) ||
		    roundsAtMost(*L, A))
			continue;
		bool Calls = false;
		for (BasicBlock *BB : L->blocks())
			for (Instruction &I : BB->instructionsWithoutDebug()) {
				Size += !isa<PHINode>(I);
				Calls |= isa<CallBase>(I) && !isa<IntrinsicInst>(I);
			}
		if (!Calls && Size <= UnrollSize)
			Small.push_back(L);
	}
	TargetTransformInfo TTI(F.getDataLayout());
	OptimizationRemarkEmitter ORE(&F);
	for (Loop *L : Small) {
		UnrollLoopOptions Options{};

		Options.Count = UnrollCount;
		Options.Force = true;
		Options.ForgetAllSCEV = true;
		simplifyLoop(L, &A.DT, &A.LI, &A.SE, &A.AC, nullptr, false);
		formLCSSA(*L, A.DT, &A.LI, &A.SE);
		UnrollLoop(L, Options, &A.LI, &A.SE, &A.DT, &A.AC, &TTI, &ORE, false);
	}
}

void Placement::place(Function &F)
{
	gatherLocals(F.getEntryBlock());	// the first point splits it
	Points.clear();
	CountedLoops.clear();
	Copied.clear();
	OnEdges.clear();
	if (Kind == Functions) {
		if (any_of(instructions(F), [&](Instruction &I) {
			    auto *CB = dyn_cast<CallBase>(&I);
			    return CB && mayReachPoint(*CB, Never);
		    }))
			Points.insert(&*F.getEntryBlock().getFirstNonPHIOrDbgOrAlloca());
	} else {
		if (!F.hasOptSize() && !F.hasOptNone())
			unrollUncounted(F);
		Analyses A(F);

		simplifyLoops(A);
		for (Loop *L : A.LI.getLoopsInPreorder())
			placeInLoop(*L, A);
		placeInRecursion(F, A.DT);
	}
	// Nothing is asked of the analyses any more.
	for (auto &[Loop, Blocks] : CountedLoops) {
		if (!Blocks.empty())
			Loop.Preheader = copyForFew(Loop.Header, Loop.Preheader, Blocks, areFew(Loop, Stride));
		stripMine(Loop, Stride, RT);
	}
	for (Uncounted &L : Copied) {
		copyForFew(L.Header, L.Preheader, L.Blocks, L.Few);
		OnEdges.push_back(L.Point);
	}
	for (Edge E : OnEdges)
		Points.insert(onEdge(E));
	for (Instruction *I : Points)
		addPoint(I, RT);
}

void Placement::run()
{
	findRecursion();
	findLong();
	for (Function &F : M)
		if (isOurs(F))
			place(F);
}

} // namespace

PreservedAnalyses PointsPass::run(Module &M, ModuleAnalysisManager &)
{
	// First: an edge to a label whose address is taken can't be split.
	bool Changed = lowerComputedGotos(M);

	if (Kind == Manual)
		return Changed ? PreservedAnalyses::none() : PreservedAnalyses::all();
	Runtime RT(M);
	NeverMoves Never(M);

	Placement(M, Never, RT).run();
	return PreservedAnalyses::none();
}

} // namespace popcorn
